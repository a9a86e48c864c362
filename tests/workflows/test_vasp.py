"""VASP as the target, through aiida-vasp, with the fake VASP of ``tests/vasp`` in the place of the licensed one."""

import numpy as np
import pytest

pytest.importorskip("aiida_vasp", reason="needs aiida-vasp: pip install 'aiida-slhmc[vasp]'")

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.workflows.label import LabelWorkChain
from tests.fixtures import RIGHT, breathing
from tests.vasp.fake import evaluate
from tests.vasp.fixtures import calls, label_inputs, moved_rutile, vasp_level


def label(*arguments, **keywords):
    """Return the node of a finished ``LabelWorkChain``."""
    return run_foreground(LabelWorkChain, label_inputs(*arguments, **keywords))


def test_a_label_has_the_free_energy_and_ase_units(family, fake_vasp):
    code = fake_vasp(breathing(RIGHT))
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    atoms = moved_rutile()
    truth = evaluate(breathing(RIGHT), atoms.get_chemical_symbols(), atoms.positions, atoms.cell[:])
    frame, info = node.outputs.label, node.outputs.label_info.get_dict()
    assert frame.energy == pytest.approx(truth.energy, abs=2e-8)
    np.testing.assert_allclose(frame.get_array("forces")[0], truth.forces, atol=2e-8)
    np.testing.assert_allclose(frame.get_array("stresses")[0], truth.stress, atol=1e-8)
    assert info["level_hash"] == level_hash(vasp_level())
    assert info["converged"]
    assert info["has_stress"]
    assert (info["engine"], info["version"], info["scf_steps"]) == ("vasp", "6.5.1", 14)
    assert info["wall_time"] == 1.5
    assert calls(code) == 1
