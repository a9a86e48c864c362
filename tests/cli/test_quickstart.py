"""The first command of the README, in an empty folder, with nothing set up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("aiida-slhmc")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_quickstart_wins_and_leaves_figures_and_no_profile(tmp_path):
    # Threads as the lane says: more of them than cores wait for one another.
    environment = {"OMP_NUM_THREADS": "2", **os.environ, "HOME": str(tmp_path / "home")}
    environment.pop("AIIDA_PATH", None)
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [COMMAND, "quickstart", "--plain"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1400,
        check=False,
    )  # fmt: skip
    # It fails where the adapted model does not beat the foundation model beyond the error bars.
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count(": passed (") == 2
    assert done.stdout.count(": wins.") == 2
    left = {path.name for path in (tmp_path / "slhmc-quickstart").iterdir()}
    assert {"summary.png", "summary.pdf", "chain-diagnostics.csv", "ensembles.csv", "adapted.model", "report"} <= left
    assert (tmp_path / "slhmc-quickstart" / "report" / "report.html").is_file()
    assert "aiida" not in left
    assert not (tmp_path / "home" / ".aiida").exists()
