"""The AiiDA profile to work in: one of our own in a folder, or the user's."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .storage import tune_sqlite

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile
    from aiida.manage.configuration.config import Config
    from aiida.orm import Computer, InstalledCode

# Nothing of AiiDA may be imported at the top: its first import creates ~/.aiida unless AIIDA_PATH says otherwise.

PROFILE = "slhmc"
CODE = "slhmc-worker"
COMPUTER = "localhost"
POLL_INTERVAL = 1  # s; AiiDA's own default is 60
JOB_POLL_INTERVAL = 0.1  # s


class NoProfile(RuntimeError):
    """There is no AiiDA profile to work in, or another one is in the way."""


def isolated_profile(path: Path) -> Profile:
    """Create or load the profile ``slhmc`` in a folder of its own, with localhost and the worker's code ready.

    Storage is SQLite and the broker ZeroMQ, so that no service is needed. The user's own configuration is neither read
    nor written; ``AIIDA_PATH`` points to the folder from here on, for child processes too.

    Args:
        path: the folder; created if missing.

    Returns:
        The loaded profile.

    Raises:
        NoProfile: a profile of another configuration is loaded, or the profile of the folder is of another kind.
    """
    path = path.expanduser().resolve()
    folder = path if path.name == ".aiida" else path / ".aiida"  # as AiiDA itself reads AIIDA_PATH
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # by us, as AiiDA warns when it does so
    os.environ["AIIDA_PATH"] = str(path)

    from aiida.manage import get_manager
    from aiida.manage.configuration import get_config, reset_config
    from aiida.manage.configuration.settings import AiiDAConfigDir

    from aiida_slhmc.data import trust

    manager = get_manager()
    if AiiDAConfigDir.get() != folder:
        loaded = manager.get_profile()
        if loaded is not None and manager.profile_storage_loaded:
            raise NoProfile(f"the profile {loaded.name!r} of {AiiDAConfigDir.get()} is in use: start a new interpreter")
        manager.unload_profile()
        reset_config()
    AiiDAConfigDir.set(folder)
    with _locked(folder / "slhmc-profile.lock"):  # two programs may be started at once on a new folder
        config = get_config(create=True)
        if PROFILE not in config.profile_names:
            _create_profile(config)
            trust.begin()
        before = manager.get_profile() if manager.profile_storage_loaded else None
        profile = manager.load_profile(PROFILE, allow_switch=True)
        if before is None or before.uuid != profile.uuid:
            tune_sqlite()  # once: it replaces the session, from which nodes that are in use would be detached
        prepare_localhost(profile, scratch=path / "scratch")
        if not trust.path().exists():
            trust.adopt()  # a profile from before there was a list
    return profile


def _create_profile(config: Config) -> None:
    """Create the profile and make it the default one of its folder."""
    from aiida.manage.configuration import create_profile
    from aiida.plugins import BrokerFactory

    create_profile(
        config,
        name=PROFILE,
        email="slhmc@localhost",
        storage_backend="core.sqlite_dos",
        storage_config={},
        broker_backend="core.zeromq",
        broker_config=BrokerFactory("core.zeromq").get_default_config(),
    )
    config.set_default_profile(PROFILE, overwrite=True)
    config.set_option("runner.poll.interval", POLL_INTERVAL, scope=PROFILE)
    config.store()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, waiting for it."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def load_existing(profile_name: str | None = None) -> Profile:
    """Load a profile of the user.

    Args:
        profile_name: its name; ``None`` means the default profile.

    Returns:
        The loaded profile.

    Raises:
        NoProfile: there is no configuration, no default profile, or no profile of this name.
    """
    from aiida.common.exceptions import ConfigurationError
    from aiida.manage.configuration import get_config, load_profile

    hint = "create one with `verdi presto`, or let `aiida-slhmc quickstart` make its own"
    try:
        config = get_config()
    except ConfigurationError as error:
        raise NoProfile(f"AiiDA has no configuration here ({error}): {hint}") from error
    name = profile_name or config.default_profile_name
    if name is None:
        raise NoProfile(f"there is no default AiiDA profile: {hint}")
    if name not in config.profile_names:
        known = ", ".join(config.profile_names) or "none"
        raise NoProfile(f"there is no AiiDA profile {name!r} (there are: {known}): {hint}")
    return load_profile(name, allow_switch=True)


def open_archive(path: Path) -> Profile:
    """Load an archive as a profile that can only be read: nothing is imported, and no configuration is changed.

    Args:
        path: the archive.

    Returns:
        The loaded profile.

    Raises:
        NoProfile: the file is no archive that this version of AiiDA can read.
    """
    from aiida.common.exceptions import CorruptStorage, IncompatibleStorageSchema, UnreachableStorage
    from aiida.manage import get_manager
    from aiida.manage.configuration import get_config, load_profile
    from aiida.storage.sqlite_zip.backend import SqliteZipBackend
    from aiida.storage.sqlite_zip.migrator import validate_storage

    path = path.resolve()
    try:
        validate_storage(path)  # before a profile that works is given up for one that does not
    except (CorruptStorage, IncompatibleStorageSchema, UnreachableStorage) as error:
        raise NoProfile(f"'{path}' cannot be opened as an archive: {' '.join(str(error).split())[:300]}") from error
    get_config(create=True)
    profile = SqliteZipBackend.create_profile(path)
    load_profile(profile, allow_switch=True)
    get_manager().get_profile_storage()
    return profile


def prepare_localhost(profile: Profile, scratch: Path | None = None) -> InstalledCode:
    """Make this machine ready to run the worker's jobs under a loaded profile; what is there already stays.

    An existing computer ``localhost`` keeps its settings: they are the user's. One that was never configured for this
    user gets ours.

    Args:
        profile: the loaded profile.
        scratch: folder for the jobs of a new computer; by default one in the configuration folder of the profile.

    Returns:
        The code ``slhmc-worker@localhost``.

    Raises:
        NoProfile: the profile is not the loaded one, or its computer ``localhost`` is no local one.
        FileNotFoundError: the worker's executable is not installed beside this interpreter.
    """
    from aiida import orm
    from aiida.common.exceptions import NotExistent
    from aiida.manage import get_manager

    loaded = get_manager().get_profile()
    if loaded is None or loaded.uuid != profile.uuid:
        raise NoProfile(f"the profile {profile.name!r} is not the loaded one")
    try:
        computer = orm.load_computer(COMPUTER)
    except NotExistent:
        computer = _create_computer(profile, scratch)
    if computer.transport_type != "core.local":
        raise NoProfile(f"the computer {COMPUTER!r} of {profile.name!r} is reached by {computer.transport_type}")
    if not computer.is_configured:
        computer.configure(safe_interval=0.0, use_login_shell=False)
    executable = _worker()
    try:
        code: Any = orm.load_code(f"{CODE}@{computer.label}")
    except NotExistent:
        return _create_code(computer, executable)
    if Path(code.filepath_executable) != executable:
        # The environment moved: a code is immutable, so the old one keeps its jobs and gives up its name.
        code.label = f"{CODE}-{code.pk}"
        code.is_hidden = True
        return _create_code(computer, executable)
    return code


def _create_computer(profile: Profile, scratch: Path | None) -> Computer:
    """Create and configure the computer ``localhost``."""
    from aiida import orm
    from aiida.manage.configuration.settings import AiiDAConfigDir

    workdir = scratch or Path(AiiDAConfigDir.get()) / "scratch" / profile.name
    workdir.mkdir(parents=True, exist_ok=True)
    computer = orm.Computer(
        label=COMPUTER,
        hostname="localhost",
        description="This machine, without a queue",
        transport_type="core.local",
        scheduler_type="core.direct",
        workdir=str(workdir),
    ).store()
    computer.set_minimum_job_poll_interval(JOB_POLL_INTERVAL)
    computer.set_default_mpiprocs_per_machine(1)
    return computer


def _create_code(computer: Computer, executable: Path) -> InstalledCode:
    """Store the code of the worker."""
    from aiida import orm

    return orm.InstalledCode(
        label=CODE,
        computer=computer,
        filepath_executable=str(executable),
        default_calc_job_plugin="slhmc.propose",
        description="The worker of aiida-slhmc in the environment that created the profile",
    ).store()


def _worker() -> Path:
    """Return the worker's executable."""
    beside = Path(sys.executable).parent / CODE  # not resolved: a virtual environment links to its base interpreter
    if beside.exists():
        return beside
    if found := shutil.which(CODE):
        return Path(found)
    raise FileNotFoundError(f"{CODE} is not installed beside {sys.executable}: pip install aiida-slhmc")
