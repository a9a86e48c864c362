"""SQLite as a journal."""

import subprocess
import sys

LOOK = """
import sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from aiida import orm
from aiida.manage import get_manager
from sqlalchemy import text
session = get_manager().get_profile_storage().get_session()
print([session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")])
node = orm.Int(7).store()
print(orm.load_node(node.pk).value)
"""


def test_an_isolated_profile_writes_ahead_and_waits_at_checkpoints_alone(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", LOOK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    # 1 is NORMAL.
    assert done.stdout.splitlines()[-2:] == ["['wal', 1]", "7"]
