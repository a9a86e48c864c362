"""Every engine behind the port: units, signs, consistency, purity, and what happens where it cannot be had."""

from __future__ import annotations

import builtins
import contextlib
import importlib.metadata

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_slhmc import models
from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.targets.engines import CHGNET_WEIGHTS
from aiida_slhmc.worker import calculators
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import Remembering, build_potential, engine_version


def rutile(a: float = 4.5, c: float = 2.9, u: float = 0.305) -> Atoms:
    """Return rutile, compressed and displaced: forces and stress are far from zero."""
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    atoms = Atoms("Ti2O4", scaled_positions=np.mod(fractions, 1.0), cell=[a, a, c], pbc=True)
    atoms.rattle(0.06, seed=1)
    return atoms


def level(engine: str, functional: str = "", **parameters) -> dict:
    return {"engine": engine, "functional": functional, "parameters": parameters}


MACE = {"engine": "mace", "file": str(models.FOLDER / "tio2-pbe-small.model")}
LJ = level("ase", calculator="lj", arguments={"sigma": 2.0, "epsilon": 0.1, "rc": 5.0, "smooth": True})
CASES = {
    "mace": (MACE, rutile()),
    "chgnet-PBE": (level("chgnet", "PBE"), rutile()),
    "chgnet-r2SCAN": (level("chgnet", "r2SCAN"), rutile()),
    "emt": (level("ase", calculator="emt"), bulk("Cu", cubic=True, a=3.5)),
    "lj": (LJ, bulk("Ar", cubic=True, a=3.4)),
}
CASES["emt"][1].rattle(0.05, seed=2)
CASES["lj"][1].rattle(0.05, seed=2)


@pytest.fixture(params=CASES, scope="module")
def case(request):
    spec, atoms = CASES[request.param]
    potential = build_potential(spec, atoms.numbers, atoms.pbc)
    return potential, np.array(atoms.positions), np.array(atoms.cell[:])


def test_kinds_and_shapes(case):
    potential, positions, cell = case
    answer = potential.evaluate(positions, cell)
    assert type(answer.energy) is float
    assert answer.forces.shape == positions.shape
    assert answer.forces.dtype == np.float64
    assert answer.stress.shape == (3, 3)
    assert answer.stress.dtype == np.float64
    np.testing.assert_allclose(answer.stress, answer.stress.T, atol=1e-10)


def test_forces_are_the_gradient_of_the_total_energy(case):
    potential, positions, cell = case
    direction = np.random.default_rng(3).standard_normal(positions.shape)
    step = 1e-4
    ahead, behind = (potential.evaluate(positions + sign * step * direction, cell).energy for sign in (1, -1))
    forces = potential.evaluate(positions, cell).forces
    assert np.abs(forces).max() > 0.1
    # float64 throughout: in float32 this difference would be noise.
    assert np.sum(forces * direction) == pytest.approx(-(ahead - behind) / (2 * step), abs=2e-5, rel=2e-5)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-6)


def test_stress_is_the_derivative_with_the_strain(case):
    potential, positions, cell = case
    strain = np.random.default_rng(4).standard_normal((3, 3))
    strain = (strain + strain.T) / 2
    step, volume = 1e-5, abs(np.linalg.det(cell))
    maps = [np.eye(3) + sign * step * strain for sign in (1, -1)]
    ahead, behind = (potential.evaluate(positions @ change, cell @ change).energy for change in maps)
    stress = potential.evaluate(positions, cell).stress
    assert np.abs(stress).max() > 0.005
    assert np.sum(stress * strain) == pytest.approx((ahead - behind) / (2 * step * volume), abs=2e-6, rel=1e-4)


def test_a_pure_function_of_the_structure(case):
    potential, positions, cell = case
    first = potential.evaluate(positions, cell)
    rng = np.random.default_rng(5)
    # Small moves stay within a skin, large ones leave it.
    for size in (1e-3, 0.1, 0.5):
        potential.evaluate(positions + size * rng.standard_normal(positions.shape), cell * (1 + size / 10))
    again = potential.evaluate(positions, cell)
    assert again.energy == first.energy
    assert np.array_equal(again.forces, first.forces)
    assert np.array_equal(again.stress, first.stress)


def test_compressed_cell_pushes_outward():
    """ASE's sign: negative stress where the cell wants to grow."""
    for spec, atoms in (CASES["emt"], CASES["chgnet-PBE"]):
        answer = build_potential(spec, atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:])
        assert np.trace(answer.stress) < 0


def test_chgnet_is_total_and_knows_its_functionals():
    """Rutile: -9.30 eV/atom on the PBE surface, -11.54 on r2SCAN's, known from CHGNet's own calculator."""
    atoms = rutile(4.594, 2.959)
    energies = {}
    for functional, expected in (("PBE", -9.30), ("r2SCAN", -11.54)):
        single = build_potential(level("chgnet", functional), atoms.numbers, atoms.pbc)
        energies[functional] = single.evaluate(atoms.positions, atoms.cell[:]).energy
        assert energies[functional] / 6 == pytest.approx(expected, abs=0.1)
        double = atoms.repeat((1, 1, 2))
        pair = build_potential(level("chgnet", functional), double.numbers, double.pbc)
        energy = pair.evaluate(double.positions, double.cell[:]).energy
        assert energy == pytest.approx(2 * energies[functional], abs=1e-6)
    assert energies["PBE"] - energies["r2SCAN"] > 12


def test_chgnet_is_what_its_own_calculator_says():
    with calculators.quiet():
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        network = CHGNet.load(model_name="r2scan", use_device="cpu", verbose=False)
        atoms = rutile()
        atoms.calc = CHGNetCalculator(network, use_device="cpu")
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    answer = build_potential(level("chgnet", "r2SCAN"), atoms.numbers, atoms.pbc).evaluate(
        atoms.positions, atoms.cell[:]
    )
    # As far as float32 goes.
    assert answer.energy == pytest.approx(energy, abs=5e-5)
    np.testing.assert_allclose(answer.forces, forces, atol=2e-4)
    np.testing.assert_allclose(answer.stress, stress, atol=2e-5)


def test_chgnet_in_float64_has_no_rounding_noise():
    """Along a line of 1e-4 Å the energy is smooth; in float32 it shakes by some 5e-6 eV."""
    atoms = rutile()
    direction = np.random.default_rng(6).standard_normal((6, 3))
    roughness = {}
    for precision in ("float32", "float64"):
        potential = build_potential(level("chgnet", "PBE", precision=precision), atoms.numbers, atoms.pbc)
        x = np.linspace(0, 1e-4, 15)
        e = [potential.evaluate(atoms.positions + step * direction, atoms.cell[:]).energy for step in x]
        smooth = np.polynomial.Polynomial.fit(x, e, 2)
        roughness[precision] = np.std(np.array(e) - smooth(x))
    assert roughness["float64"] < 1e-11
    assert 5e-7 < roughness["float32"] < 5e-5


def test_chgnet_weights_are_pinned():
    atoms = rutile()
    pinned = level("chgnet", "PBE", weights=CHGNET_WEIGHTS["PBE"])
    build_potential(pinned, atoms.numbers, atoms.pbc)
    swapped = level("chgnet", "PBE", weights=CHGNET_WEIGHTS["r2SCAN"])
    with pytest.raises(TaskError, match=r"other weights '0\.3\.0'") as caught:
        build_potential(swapped, atoms.numbers, atoms.pbc)
    assert caught.value.kind == "bad_input"


def test_chgnet_is_quiet(capfd, recwarn):
    calculators.forget()
    atoms = rutile()
    build_potential(level("chgnet", "PBE"), atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""
    assert [str(warning.message) for warning in recwarn] == []


def test_chgnet_without_neighbours_is_a_failure():
    atoms = Atoms("TiO", positions=[[0, 0, 0], [10, 0, 0]], cell=[20, 20, 20], pbc=True)
    potential = build_potential(level("chgnet", "PBE"), atoms.numbers, atoms.pbc)
    with pytest.raises(TaskError, match="isolated") as caught:
        potential.evaluate(atoms.positions, atoms.cell[:])
    assert caught.value.kind == "failed"


def test_networks_are_loaded_once():
    one, other = level("chgnet", "PBE"), level("chgnet", "r2SCAN")
    assert calculators.chgnet_network(one) is calculators.chgnet_network(dict(one))
    assert calculators.chgnet_network(one) is not calculators.chgnet_network(other)


def test_einstein_is_the_closed_form():
    sites = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    spec = level("einstein", "analytic", sites=sites.tolist(), spring_constant=[2.0, 4.0], offset=-1.0)
    shift = np.array([[0.1, 0.0, 0.0], [0.0, -0.2, 0.0]])
    answer = build_potential(spec, [18, 18], [True] * 3).evaluate(sites + shift, np.eye(3) * 9)
    assert answer.energy == pytest.approx(-1.0 + 0.5 * (2.0 * 0.01 + 4.0 * 0.04))
    np.testing.assert_allclose(answer.forces, -np.array([[2.0], [4.0]]) * shift)
    assert answer.stress is None


def test_einstein_names_both_numbers_of_atoms():
    spec = level("einstein", "analytic", sites=np.zeros((48, 3)).tolist(), spring_constant=2.0)
    with pytest.raises(TaskError, match="48 sites, but the structure has 6 atoms") as caught:
        build_potential(spec, [8] * 6, [True] * 3)
    assert caught.value.kind == "bad_input"


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        ({}, "bad_input", "lacks 'engine'"),
        (level("vaps"), "bad_input", "no engine 'vaps' here; known are: ase, breathing, chgnet, einstein, "),
        (level("chgnet", "HSE06"), "bad_input", "no functional 'HSE06'; it has PBE, r2SCAN"),
        (level("chgnet", "PBE", precision="half"), "bad_input", "float64 or float32"),
        (level("gpaw", "B3LYP"), "bad_input", "no functional 'B3LYP'"),
        (level("einstein", "analytic", sites=[[0, 0, 0]]), "bad_input", "lacks 'spring_constant'"),
        (level("einstein", "PBE", sites=[[0, 0, 0]], spring_constant=1.0), "bad_input", "no functional 'PBE'"),
        (level("ase"), "bad_input", "lacks 'calculator'"),
        (level("ase", calculator="no_such"), "bad_input", "knows no calculator 'no_such'"),
        (level("ase", calculator="lj", arguments={"sigma": "x"}), "bad_input", "cannot make the calculator 'lj'"),
        ({"engine": "mace"}, "bad_input", "lacks 'file'"),
    ],
)
def test_a_specification_that_cannot_be(spec, kind, says):
    with pytest.raises(TaskError) as caught:
        build_potential(spec, [8], [True] * 3)
    assert caught.value.kind == kind
    assert says in str(caught.value)


def test_an_element_that_the_calculator_does_not_know():
    potential = build_potential(level("ase", calculator="emt"), [22], [True] * 3)
    with pytest.raises(TaskError, match=r"EMT.*Ti") as caught:
        potential.evaluate(np.zeros((1, 3)), np.eye(3) * 3)
    assert caught.value.kind == "bad_input"


@contextlib.contextmanager
def without(monkeypatch, package: str):
    """Hide an installed package, as where it was never installed."""
    real = builtins.__import__

    def hidden(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", hidden)
        yield


@pytest.mark.parametrize(
    ("engine", "hint"), [("chgnet", "pip install 'aiida-slhmc[worker]'"), ("gpaw", "scripts/install_gpaw.sh")]
)
def test_a_missing_package_says_what_to_install(monkeypatch, engine, hint):
    calculators.forget()
    with without(monkeypatch, engine), pytest.raises(TaskError) as caught:
        build_potential(level(engine, "PBE"), [8], [True] * 3)
    assert caught.value.kind == "missing_dependency"
    assert hint in str(caught.value)


class Shifted:
    """An engine of a third party."""

    def __init__(self, spec, numbers, pbc):
        self.shift = spec["parameters"]["shift"]

    def evaluate(self, positions, cell):
        return Evaluation(self.shift, np.zeros_like(positions))


def test_a_third_party_adds_an_engine(monkeypatch):
    point = importlib.metadata.EntryPoint("shifted", f"{__name__}:Shifted", "aiida_slhmc.potentials")
    monkeypatch.setattr("aiida_slhmc.worker.potentials.entry_points", lambda group: [point])
    potential = build_potential(level("shifted", "", shift=4.0), [8], [True] * 3)
    assert potential.evaluate(np.zeros((1, 3)), np.eye(3)).energy == 4.0


def test_versions_of_the_engines():
    assert engine_version("chgnet") == importlib.metadata.version("chgnet")
    assert engine_version("ase") == importlib.metadata.version("ase")
    assert engine_version("nobody") == "unknown"


class Counting:
    def __init__(self):
        self.calls = 0

    def evaluate(self, positions, cell):
        self.calls += 1
        return Evaluation(float(positions.sum() + cell.sum()), -positions)


def test_remembering_asks_once_and_never_confuses():
    counting = Counting()
    potential = Remembering(counting, size=2)
    a, b, c = (np.full((1, 3), value) for value in (1.0, 2.0, np.nextafter(1.0, 2.0)))
    for positions, cell in ((a, np.eye(3)), (b, np.eye(3)), (a, np.eye(3)), (a, np.eye(3))):
        assert potential.evaluate(positions, cell).energy == positions.sum() + 3
    assert counting.calls == 2
    # The last bit of a position and the cell both count; the oldest is dropped.
    assert potential.evaluate(c, np.eye(3)).energy == c.sum() + 3
    assert potential.evaluate(a, 2 * np.eye(3)).energy == a.sum() + 6
    assert counting.calls == 4
    potential.evaluate(b, np.eye(3))
    assert counting.calls == 5
