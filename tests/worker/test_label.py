"""Labels: what is handed on, and what is distrusted although it came without an error."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.worker import label as module
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.label import check, check_zero_forces, label


def payload(atoms: Atoms, level: dict, **more) -> dict:
    return {
        "numbers": atoms.numbers,
        "positions": atoms.get_positions(),
        "cell": np.array(atoms.cell[:]),
        "pbc": atoms.pbc,
        "level": level,
        **more,
    }


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.5)
    atoms.rattle(0.05, seed=1)
    return atoms


EMT = {"engine": "ase", "functional": "ase", "parameters": {"calculator": "emt", "arguments": {}}}


def test_a_label_says_everything():
    result = label(payload(copper(), EMT))
    assert set(result) == {
        "energy", "forces", "stress", "converged", "scf_steps", "engine", "version", "wall_time",
    }  # fmt: skip
    assert type(result["energy"]) is float
    assert result["forces"].shape == (4, 3)
    assert result["stress"].shape == (3, 3)
    assert (result["converged"], result["scf_steps"], result["engine"]) == (True, None, "ase")
    assert result["version"][0].isdigit()
    assert result["wall_time"] > 0
    atoms = copper().repeat((2, 1, 1))
    assert label(payload(atoms, EMT))["energy"] == pytest.approx(2 * result["energy"], abs=1e-9)


def test_no_stress_is_absent_not_zero():
    sites = copper().get_positions().tolist()
    level = {"engine": "einstein", "functional": "analytic", "parameters": {"sites": sites, "spring_constant": 2.0}}
    result = label(payload(copper(), level))
    assert "stress" not in result
    assert result["energy"] == 0.0


def test_no_stress_without_a_period():
    atoms = copper()
    atoms.pbc = (True, True, False)
    assert "stress" not in label(payload(atoms, EMT))


GOOD = Evaluation(-1.0, np.ones((2, 3)), np.eye(3))
BAD_FORCES = np.array([[1.0, 2.0, math.nan], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (Evaluation(math.nan, np.ones((2, 3))), "not_finite", "energy is nan"),
        (Evaluation(-math.inf, np.ones((2, 3))), "not_finite", "energy is -inf"),
        (Evaluation(-1.0, BAD_FORCES), "not_finite", "forces are not finite"),
        (Evaluation(-1.0, np.ones((3, 3))), "absurd", r"shape \(3, 3\) for 2 atoms"),
        (Evaluation(-1.0, np.full((2, 3), 600.0)), "absurd", "600 eV/Å, beyond max_force = 500"),
        (Evaluation(-1.0, np.ones((2, 3)), np.full((3, 3), math.nan)), "not_finite", "stress is not finite"),
        (Evaluation(-1.0, np.ones((2, 3)), np.ones(6)), "absurd", r"stress of shape \(6,\)"),
    ],
)
def test_a_successful_label_is_distrusted(answer, kind, says):
    with pytest.raises(TaskError, match=says) as caught:
        check(answer, 2)
    assert caught.value.kind == kind


def test_the_limit_of_the_forces_is_a_parameter():
    check(GOOD, 2)
    largest = float(np.abs(label(payload(copper(), EMT))["forces"]).max())
    label(payload(copper(), EMT, max_force=1.01 * largest))
    with pytest.raises(TaskError, match="beyond max_force") as caught:
        label(payload(copper(), EMT, max_force=0.99 * largest))
    assert caught.value.kind == "absurd"


def zeros(atoms: Atoms) -> None:
    check_zero_forces(atoms.numbers, atoms.get_positions(), np.array(atoms.cell[:]), atoms.pbc)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", cubic=True, a=3.6),
        bulk("Cu", a=3.6),
        bulk("Si", a=5.43),
        bulk("MgO", "rocksalt", a=4.2) * (2, 1, 1),
        bulk("CsCl", "cesiumchloride", a=4.1),
        bulk("Fe", "bcc", a=2.87, cubic=True) * (2, 2, 2),
        bulk("Ti", "hcp", a=2.95, c=4.68),
        Atoms("H", cell=[8, 9, 10], pbc=True),
        Atoms("Ar2", positions=[(0, 0, 0), (0, 0, 6)], cell=[20, 20, 20], pbc=True),
    ],
    ids=["fcc", "fcc primitive", "diamond", "rocksalt", "CsCl", "bcc", "hcp", "atom", "far apart"],
)
def test_forces_of_zero_are_believed_where_symmetry_makes_them(atoms):
    zeros(atoms)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_cells", [1, 2])
def test_forces_of_zero_are_absurd_where_atoms_have_moved(seed, n_cells):
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True) * (n_cells, 1, 1)
    atoms.rattle(0.02, seed=seed)
    with pytest.raises(TaskError, match="forces of exactly zero on all") as caught:
        zeros(atoms)
    assert caught.value.kind == "absurd"


def test_one_displaced_atom_is_enough():
    atoms = bulk("Si", a=5.43, cubic=True)
    atoms.positions[3] += (0.01, 0.02, 0.003)
    with pytest.raises(TaskError, match="exactly zero"):
        zeros(atoms)


def test_an_engine_that_leaves_its_forces_empty(monkeypatch):
    empty = Evaluation(-1.0, np.zeros((4, 3)), np.eye(3))
    monkeypatch.setattr(module, "build_potential", lambda *args, **kwargs: Answering(empty))
    with pytest.raises(TaskError, match="the engine left them empty"):
        label(payload(copper(), EMT))
    # A perfect crystal may start a run, and an analytic surface has its minimum where it says.
    label(payload(bulk("Cu", cubic=True, a=3.5), EMT))
    label(payload(copper(), {**EMT, "functional": "analytic"}))


class Answering:
    """An engine that always gives the same answer."""

    def __init__(self, answer: Evaluation):
        self.answer = answer

    def evaluate(self, positions, cell):
        return self.answer


@pytest.mark.parametrize("key", ["numbers", "positions", "cell", "pbc", "level"])
def test_a_payload_that_lacks_something(key):
    content = payload(copper(), EMT)
    del content[key]
    with pytest.raises(TaskError, match=f"lacks '{key}'") as caught:
        label(content)
    assert caught.value.kind == "bad_input"


@pytest.mark.parametrize("key", ["positions", "cell"])
def test_what_is_not_finite_is_not_computed(key):
    content = payload(copper(), EMT)
    content[key][0, 0] = math.nan
    with pytest.raises(TaskError, match="not finite") as caught:
        label(content)
    assert caught.value.kind == "bad_input"


class Broken:
    """An engine that fails in its own way."""

    def __init__(self, error: Exception):
        self.error = error

    def evaluate(self, positions, cell):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("two\nlines"), ValueError("x"), ZeroDivisionError("x"), OSError("disk")]
)
def test_a_failure_of_the_engine_is_named(monkeypatch, error):
    monkeypatch.setattr(module, "build_potential", lambda *args, **kwargs: Broken(error))
    with pytest.raises(TaskError, match=f"'ase' gave no label: {type(error).__name__}") as caught:
        label(payload(copper(), EMT))
    assert caught.value.kind == "failed"
    assert "\n" not in str(caught.value)


def test_a_defect_is_not_hidden(monkeypatch):
    monkeypatch.setattr(module, "build_potential", lambda *args, **kwargs: Broken(AttributeError("typo")))
    with pytest.raises(AttributeError, match="typo"):
        label(payload(copper(), EMT))


# -- GPAW

needs_gpaw = pytest.mark.skipif(
    importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed: scripts/install_gpaw.sh"
)


def rutile() -> Atoms:
    a, c, u = 4.594, 2.959, 0.305
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    atoms = Atoms("Ti2O4", scaled_positions=np.mod(fractions, 1.0), cell=[a, a, c], pbc=True)
    atoms.rattle(0.06, seed=1)
    return atoms


def magnesia() -> Atoms:
    atoms = bulk("MgO", "rocksalt", a=4.1)
    atoms.rattle(0.05, seed=1)
    return atoms


def gpaw(functional: str = "PBE", **parameters) -> dict:
    return normalise({"engine": "gpaw", "functional": functional, "parameters": {"cutoff": 340.0, **parameters}})


@pytest.fixture(scope="module")
def pbe(tmp_path_factory):
    log = tmp_path_factory.mktemp("gpaw") / "engine.txt"
    return label(payload(rutile(), gpaw(), log=str(log))), log


@pytest.mark.dft
@needs_gpaw
def test_gpaw_labels_rutile(pbe):
    result, log = pbe
    assert result["engine"] == "gpaw"
    assert result["converged"] is True
    assert 5 < result["scf_steps"] < 60
    assert result["version"] == importlib.import_module("gpaw").__version__
    # At this cut-off the stress is that of the incomplete basis.
    assert "stress" not in result
    # The grid of the exchange-correlation energy feels where the crystal as a whole stands, a little.
    np.testing.assert_allclose(result["forces"].sum(axis=0), 0.0, atol=0.1)
    # The energy is the free energy, which the forces belong to, not its extrapolation to zero smearing.
    text = log.read_text()
    free = next(line for line in text.splitlines() if line.strip().startswith("Free energy:"))
    assert result["energy"] == pytest.approx(float(free.split()[-1]), abs=1e-5)


@pytest.mark.dft
@needs_gpaw
def test_gpaw_starts_afresh_each_time(pbe):
    """The label is a function of the structure alone: a resumed run decides as an undisturbed one."""
    other = rutile()
    other.rattle(0.1, seed=9)
    label(payload(other, gpaw()))
    again = label(payload(rutile(), gpaw()))
    # A start from the last density would show in the forces at 1e-4 eV/Å; two equal starts differ by rounding.
    assert again["energy"] == pytest.approx(pbe[0]["energy"], abs=1e-9)
    np.testing.assert_allclose(again["forces"], pbe[0]["forces"], atol=1e-9)


@pytest.mark.dft
@needs_gpaw
@pytest.mark.parametrize(("atom", "axis"), [(0, 0), (3, 1)])
def test_gpaw_forces_by_finite_difference(pbe, atom, axis):
    step = 0.005
    energies = []
    for sign in (1, -1):
        moved = rutile()
        moved.positions[atom, axis] += sign * step
        energies.append(label(payload(moved, gpaw()))["energy"])
    numerical = -(energies[0] - energies[1]) / (2 * step)
    assert pbe[0]["forces"][atom, axis] == pytest.approx(numerical, abs=2e-3)


@pytest.mark.dft
@needs_gpaw
def test_gpaw_that_does_not_converge_says_so():
    with pytest.raises(TaskError, match="did not converge within 3 iterations") as caught:
        label(payload(magnesia(), gpaw(cutoff=250.0, max_iterations=3)))
    assert caught.value.kind == "unconverged"


@pytest.mark.dft
@needs_gpaw
def test_gpaw_gives_no_stress_of_a_hybrid():
    """At a cut-off that would do, were it not for the exchange."""
    atoms = bulk("MgO", "rocksalt", a=4.1)
    result = label(payload(atoms, gpaw("HSE06", cutoff=700.0)))
    assert "stress" not in result
    plain = label(payload(atoms, gpaw("PBE", cutoff=700.0)))
    np.testing.assert_allclose(plain["stress"], plain["stress"].T, atol=1e-6)
    # Compressed, it pushes: the lattice constant of PBE is 4.26 Å.
    assert np.trace(plain["stress"]) < -0.1


@pytest.mark.dft
@needs_gpaw
def test_gpaw_with_r2scan():
    plain, meta = (label(payload(magnesia(), gpaw(functional, cutoff=250.0))) for functional in ("PBE", "r2SCAN"))
    assert abs(plain["energy"] - meta["energy"]) > 0.1
    np.testing.assert_allclose(plain["forces"], meta["forces"], atol=1.0)


@pytest.mark.dft
@needs_gpaw
def test_gpaw_with_other_setups_than_the_level_names():
    with pytest.raises(TaskError, match=r"'gpaw-data 0\.0\.1', here is 'gpaw-data") as caught:
        label(payload(magnesia(), gpaw(setups="gpaw-data 0.0.1")))
    assert caught.value.kind == "bad_input"


@pytest.mark.dft
@needs_gpaw
def test_gpaw_without_a_setup_for_an_element():
    with pytest.raises(TaskError, match="no PAW setup") as caught:
        label(payload(Atoms("Pu", cell=[5, 5, 5], pbc=True), gpaw()))
    assert caught.value.kind == "missing_dependency"


@pytest.mark.dft
@needs_gpaw
def test_gpaw_with_a_level_that_is_not_written_out():
    with pytest.raises(TaskError, match="lacks 'cutoff'") as caught:
        label(payload(magnesia(), {"engine": "gpaw", "functional": "PBE", "parameters": {}}))
    assert caught.value.kind == "bad_input"
