"""SQLite as a journal: the cost of a commit, which a run pays a hundred times a cycle."""

from __future__ import annotations

from typing import Any


def tune_sqlite() -> None:
    """Make the commits of the loaded SQLite profile cheap.

    AiiDA commits at every change of a process: with SQLite's rollback journal each commit waits for the disk two or
    three times. With a write-ahead log that is synchronised at checkpoints a commit waits for nothing. What a killed
    process had committed stays committed; after a power failure the last moments may be missing, but what is there is
    consistent, and a resumed run repeats them. Other storages are left alone.
    """
    from aiida.manage import get_manager
    from sqlalchemy import event

    storage = get_manager().get_profile_storage()
    get_session: Any = getattr(storage, "get_session", None)
    if get_session is None or get_session().get_bind().dialect.name != "sqlite":
        return
    engine: Any = get_session().get_bind()

    def configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    event.listen(engine, "connect", configure)
    # Connections made before now are replaced as they return to the pool.
    get_session().close()
    engine.dispose()
