"""A molecule of N2 in a box: proposals by tight binding, labels by PySCF, decisions exact."""

import numpy as np
import pytest
from aiida import orm
from ase import Atoms

from aiida_slhmc.calculations.label import label_local
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain

pytest.importorskip("pyscf", reason="PySCF is not installed: pip install 'aiida-slhmc[molecules]'")
pytest.importorskip("tblite", reason="tblite is not installed: pip install 'aiida-slhmc[tblite]'")


def nitrogen(pbc=True):
    atoms = Atoms("N2", positions=[[7.0, 7.0, 7.0], [7.1, 7.2, 8.08]], cell=np.eye(3) * 15.0, pbc=pbc)
    return orm.StructureData(ase=atoms)


def level(basis):
    return normalise({"engine": "pyscf", "functional": "HF", "parameters": {"basis": basis}})


def test_a_label_of_a_molecule_needs_no_period(aiida_profile):
    labels = [label_local(nitrogen(pbc), orm.Dict(level("STO-3G")))["label"] for pbc in (False, True)]
    np.testing.assert_allclose(labels[0].get_array("energies"), labels[1].get_array("energies"), atol=1e-7)


def test_slhmc_of_a_molecule_in_a_box(aiida_profile):
    builder = SlhmcWorkChain.get_builder_from_protocol(
        structure=nitrogen(),
        model=orm.Dict(normalise({"engine": "tblite", "functional": "GFN1-xTB"})),
        level=level("STO-3G"),
        seed=2,
        protocol="fast",
        overrides={
            "budget": {"chains": 1, "blocks": 1, "cycles": 4, "production_cycles": 2},
            "proposal": {"length": 5, "timestep": 0.5},
        },
    )
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    assert run.outputs.dataset.n_frames == 1 + 4
    assert run.outputs.history.get_dict()["blocks"][0]["cycles"] == 4
