"""Teachers through AiiDA: a MACE file that travels with the job, SevenNet behind the code of another environment."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.runfile import load_model
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain

ROOT = Path(__file__).parents[2]
SEVENNET = Path(os.environ.get("SLHMC_SEVENNET", ROOT / ".venv-sevenn")) / "bin"

needs_sevennet = pytest.mark.skipif(
    not (SEVENNET / "slhmc-worker").exists(), reason="SevenNet has no environment here: scripts/install_sevennet.sh"
)

CONTRACT = """
import dataclasses, json, sys
import numpy as np
from ase import Atoms
from aiida_slhmc.targets.contract import check_target

u = 0.305
places = [(0, 0, 0), (.5, .5, .5), (u, u, 0), (-u, -u, 0), (.5 + u, .5 - u, .5), (.5 - u, .5 + u, .5)]
atoms = Atoms("Ti2O4", scaled_positions=np.mod(places, 1.0), cell=[4.5, 4.5, 2.9], pbc=True)
atoms.rattle(0.06, seed=1)
level = {"engine": "sevennet", "functional": sys.argv[1]}
print(json.dumps(dataclasses.asdict(check_target(level, atoms, translation=True, extensive=True))))
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Return the file of a model that does not come with the package, and a folder of weights of our own."""
    from aiida_slhmc import models
    from aiida_slhmc.worker.models import read, save

    monkeypatch.setenv("SLHMC_WEIGHTS", str(tmp_path / "weights"))
    model = read(models.path("tio2-pbe-small"))
    model.scale_shift.scale *= 1.1
    save(model, tmp_path / "mine.model")
    return tmp_path / "mine.model"


def test_a_file_travels_with_the_job(structure, code, foreign, monkeypatch):
    """The computing machine knows nothing of the file: its folder of weights is another one, and empty."""
    parameters = {"model": str(foreign)}
    level = orm.Dict(normalise({"engine": "mace", "functional": "ours (PBE)", "parameters": parameters}))
    here, _ = run_get_node(label_local, structure=structure, level=level)
    options = {"prepend_text": f"export SLHMC_WEIGHTS={foreign.parent / 'elsewhere'}"}
    there, node = run_get_node(
        LabelCalculation, structure=structure, level=level, code=code, metadata={"options": options}
    )
    assert node.is_finished_ok, node.exit_message
    np.testing.assert_allclose(there["label"].get_array("energies"), here["label"].get_array("energies"), atol=1e-9)
    # Its hash is in the level of theory: the file itself is not stored once more for every label.
    assert not [name for name in node.base.repository.list_object_names() if name.endswith(".model")]


@pytest.mark.dft
@needs_sevennet
@pytest.mark.parametrize("functional", ["PBE", "r2SCAN"])
def test_sevennet_keeps_the_contract(functional, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [SEVENNET / "python", "-c", CONTRACT, functional],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["version"] == "0.13.0"
    # Threads add in an order of their own.
    assert report["repeat_error"] < 1e-9
    # float64: what is left is the finite difference.
    assert report["force_error"] < 1e-4
    assert report["stress_error"] < 1e-4
    assert report["translation_error"] < 1e-8
    assert report["extensivity_error"] < 1e-8


@pytest.mark.dft
@needs_sevennet
def test_slhmc_with_sevennet_as_jobs(structure, aiida_localhost):
    """MACE proposes and learns in this environment, SevenNet labels in its own: two that cannot be one."""
    aiida_localhost.configure(use_login_shell=False, safe_interval=0.0)
    aiida_localhost.set_minimum_job_poll_interval(0.1)
    teacher = orm.InstalledCode(
        label="slhmc-worker-sevennet", computer=aiida_localhost, filepath_executable=str(SEVENNET / "slhmc-worker")
    ).store()
    builder = SlhmcWorkChain.get_builder_from_protocol(
        structure=structure,
        model=load_model("tio2-pbe-small", ROOT),
        level={"engine": "sevennet", "functional": "r2SCAN"},
        seed=4,
        protocol="fast",
        target_code=teacher,
        overrides={
            "budget": {"chains": 1, "blocks": 1, "cycles": 3, "production_cycles": 1},
            "proposal": {"length": 5},
            "executor": {"label": "job"},
        },
    )
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    status = run_status(run)
    assert status.labels == 5
    assert status.labels_failed == 0
    info = next(
        node.outputs.label_info.get_dict()
        for node in run.called_descendants
        if isinstance(node, orm.CalcJobNode) and node.process_label == "LabelCalculation"
    )
    assert (info["engine"], info["version"]) == ("sevennet", "0.13.0")
    assert info["has_stress"]
