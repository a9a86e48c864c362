"""VASP as the target, through aiida-vasp, with the fake VASP of ``tests/vasp`` in the place of the licensed one."""

import numpy as np
import pytest

pytest.importorskip("aiida_vasp", reason="needs aiida-vasp: pip install 'aiida-slhmc[vasp]'")

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.targets.vasp_incar import MIXING
from aiida_slhmc.workflows.label import LabelWorkChain
from tests.fixtures import RIGHT, breathing, einstein
from tests.vasp.fake import evaluate, read_incar
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


def attempts(node):
    """Return the ``VaspCalculation`` nodes of a label, in order."""
    return sorted((child for child in node.called if child.process_label == "VaspCalculation"), key=lambda c: c.pk)


def incar(job):
    """Return the INCAR that a job was given, read from the file."""
    return read_incar(job.base.repository.get_object_content("INCAR"))


@pytest.mark.parametrize("functional", ["PBE", "r2SCAN", "HSE06"])
def test_electrons_that_do_not_converge_are_treated_without_touching_the_surface(family, fake_vasp, functional):
    """Every INCAR of all attempts is read: only ALGO, NELM, TIME and the mixing differ."""
    code = fake_vasp(faults=[{"kind": "unconverged", "calls": [0, 1, 2, 3]}])
    node = label(code, level=vasp_level(functional), attempts=4)
    assert node.exit_status == 430
    assert "after 4 attempts" in node.exit_message
    assert "not converged" in node.exit_message
    jobs = attempts(node)
    assert [job.exit_status for job in jobs] == [701] * 4
    assert calls(code) == 4
    tags = [incar(job) for job in jobs]
    fixed = [{name: value for name, value in one.items() if name not in MIXING} for one in tags]
    assert fixed == fixed[:1] * 4
    assert {"ENCUT", "EDIFF", "PREC", "ISMEAR", "SIGMA", "ISPIN", "ISYM", "LASPH"} <= set(fixed[0])
    assert len({(one["ALGO"], one["NELM"], one.get("AMIX")) for one in tags[:3]}) == 3
    files = [(job.base.repository.get_object_content(name)) for name in ("POSCAR", "KPOINTS") for job in jobs]
    assert len(set(files)) == 2
    assert len({job.inputs.potential.Ti.sha512 for job in jobs}) == 1
    assert get_target("vasp").mismatch(jobs[-1], vasp_level(functional)) is None
    # With 701 the outputs are attached all the same: they must not have become a label.
    assert "misc" in jobs[0].outputs
    assert "label" not in node.outputs


def test_another_algorithm_saves_a_label(family, fake_vasp):
    code = fake_vasp(faults=[{"kind": "unconverged", "calls": [0, 1], "unless": {"ALGO": "All"}}])
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    assert [incar(job)["ALGO"] for job in attempts(node)] == ["Normal", "All"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("crash", 352), ("walltime", 700), ("truncated", None), ("nan", 0), ("brmix", 703), ("no_free_energy", None)],
)
def test_a_failed_call_is_tried_again(family, fake_vasp, kind, status):
    """What VASP can leave behind; the second call is sound, and its label is the one of an undisturbed run."""
    code = fake_vasp(faults=[{"kind": kind, "calls": [0]}])
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    jobs = attempts(node)
    assert len(jobs) == calls(code) == 2
    if status is not None:
        assert jobs[0].exit_status == status
    atoms = moved_rutile()
    truth = evaluate(einstein(RIGHT), atoms.get_chemical_symbols(), atoms.positions, atoms.cell[:])
    assert node.outputs.label.energy == pytest.approx(truth.energy, abs=2e-8)
    assert incar(jobs[1])["ALGO"] == ("All" if kind == "brmix" else "Normal")


@pytest.mark.parametrize(
    ("kind", "word"),
    [("crash", "missing"), ("walltime", "end of execution"), ("truncated", ""), ("nan", "nan"), ("zero", "zero")],
)
def test_a_label_that_fails_for_good_says_why(family, fake_vasp, kind, word):
    code = fake_vasp(faults=[{"kind": kind, "calls": list(range(9))}])
    node = label(code)
    assert node.exit_status == 430
    assert word in node.exit_message
    assert "Traceback" not in node.exit_message
    assert "label" not in node.outputs
    assert calls(code) == 2


def test_without_a_free_energy_there_is_no_label(family, fake_vasp):
    """The energy extrapolated to no smearing is there: it is not taken."""
    node = label(fake_vasp(faults=[{"kind": "no_free_energy", "calls": [0, 1]}]))
    assert node.exit_status == 430
    assert "label" not in node.outputs
