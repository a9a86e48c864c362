"""A profile of our own, and programs in processes of their own that can be killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Programs:
    """Start ``tests.engine.driver`` on one isolated profile."""

    def __init__(self, folder: Path):
        self.folder = folder / "aiida"
        self.home = folder / "home"
        self.home.mkdir()

    def start(self, command, argument):
        """Return the running program."""
        environment = {key: value for key, value in os.environ.items() if key not in {"AIIDA_PATH", "SLHMC_TOY_DIE"}}
        environment |= {"HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.engine.driver", str(self.folder), command, str(argument)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, command, argument):
        """Run a program to its end and return its answers merged, and its exit status."""
        program = self.start(command, argument)
        out, err = program.communicate(timeout=120)
        answer = {key: value for line in out.splitlines() for key, value in json.loads(line).items()}
        return answer | {"status": program.returncode, "stderr": err}


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    return Programs(tmp_path_factory.mktemp("engine"))
