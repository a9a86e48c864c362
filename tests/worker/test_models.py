import hashlib
import json
import pickle

import mace  # noqa: F401  (before e3nn)
import numpy as np
import pytest
import torch
from e3nn import o3
from mace import modules
from mace.calculators import MACECalculator

from aiida_slhmc.worker import models
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.graphs import default_dtype

from .rutile import MODEL, rattled, rutile


def tiny_model(heads: list[str], energies: np.ndarray, numbers: list[int]) -> torch.nn.Module:
    """Return a MACE with random weights of the smallest size."""
    with default_dtype(torch.float64), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return modules.ScaleShiftMACE(
            r_max=3.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps("4x0e"),
            MLP_irreps=o3.Irreps("4x0e"),
            atomic_energies=energies,
            avg_num_neighbors=8.0,
            atomic_numbers=numbers,
            correlation=1,
            gate=torch.nn.functional.silu,
            radial_MLP=[8],
            atomic_inter_scale=[1.0] * len(heads),
            atomic_inter_shift=[0.0] * len(heads),
            heads=heads,
        )


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "two.model"
    models.save(tiny_model(["pt_head", "Default"], np.array([[-1.0, -2.0], [-10.0, -20.0]]), [8, 22]), path)
    return path


def test_describe_says_what_identifies_a_model():
    description = models.describe(MODEL)
    assert description["file_sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert description["state_sha256"] == models.state_sha256(models.read(MODEL))
    assert description["atomic_numbers"] == [1, 7, 8, 22]
    assert description["symbols"] == ["H", "N", "O", "Ti"]
    assert (description["r_max"], description["dtype"], description["heads"]) == (4.5, "float64", ["Default"])
    assert description["atomic_energies"]["Default"]["Ti"] == pytest.approx(-2.55)
    assert 25_000 < description["parameters"] < 35_000
    assert set(description["versions"]) == {"torch", "mace", "e3nn"}
    assert json.loads(json.dumps(description)) == description


def test_state_hash_survives_writing_and_sees_one_changed_bit(tmp_path):
    model = models.read(MODEL)
    before = models.state_sha256(model)
    models.save(model, tmp_path / "again.model")
    assert models.describe(tmp_path / "again.model")["state_sha256"] == before
    with torch.no_grad():
        parameter = next(model.parameters())
        parameter.view(-1)[0] = torch.nextafter(parameter.view(-1)[0], torch.tensor(np.inf, dtype=torch.float64))
    assert models.state_sha256(model) != before


def test_saved_model_is_one_that_mace_reads(tmp_path):
    models.save(models.read(MODEL), tmp_path / "copy.model")
    atoms = rutile()
    atoms.calc = MACECalculator(str(tmp_path / "copy.model"), device="cpu", default_dtype="float64")
    assert np.isfinite(atoms.get_potential_energy())


def foreign(kind: str) -> bytes:
    if kind == "text":
        return b"&control\n calculation = 'scf'\n/\n"
    if kind == "empty":
        return b""
    if kind == "truncated":
        return MODEL.read_bytes()[: len(MODEL.read_bytes()) // 2]
    if kind == "pickle":
        return pickle.dumps({"weights": [1.0]})
    raise ValueError(kind)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "pickle"])
@pytest.mark.parametrize("function", [models.describe, models.load], ids=["describe", "load"])
def test_foreign_file_gives_one_clear_sentence(tmp_path, kind, function):
    path = tmp_path / "foreign.model"
    path.write_bytes(foreign(kind))
    with pytest.raises(TaskError, match=r"'foreign\.model' is not a MACE model") as caught:
        function(path)
    assert caught.value.kind == "bad_input"
    assert "\n" not in str(caught.value)


def test_state_dict_and_torchscript_are_not_models(tmp_path):
    torch.save(models.read(MODEL).state_dict(), tmp_path / "weights.model")
    with pytest.raises(TaskError, match="it holds a OrderedDict"):
        models.describe(tmp_path / "weights.model")
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "compiled.model")
    with pytest.raises(TaskError, match="compiled"):
        models.describe(tmp_path / "compiled.model")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"absent\.model") as caught:
        models.load(tmp_path / "absent.model")
    assert caught.value.kind == "bad_input"


def test_models_are_shared_by_content_and_checked_by_hash(tmp_path):
    copy = tmp_path / "copy.model"
    copy.write_bytes(MODEL.read_bytes())
    assert models.load(copy) is models.load(MODEL)
    with pytest.raises(TaskError, match="not the one it should be"):
        models.load(MODEL, sha256="0" * 64)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 2)])
def test_equals_the_ase_calculator(repeat):
    calculator = MACECalculator(str(MODEL), device="cpu", default_dtype="float64")
    for atoms in rattled(3, seed=5, repeat=repeat):
        answer = models.MacePotential(MODEL, atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:])
        atoms.calc = calculator
        assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(answer.forces, atoms.get_forces(), rtol=0, atol=1e-10)
        np.testing.assert_allclose(answer.stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-10)


def test_nothing_else_in_the_process_changes_a_bit():
    """MACE's own calculator leaves e3nn's function rewritten, which gives other last bits."""
    atoms = rutile()
    atoms.rattle(0.05, seed=3)
    potential = models.MacePotential(MODEL, atoms.numbers, atoms.pbc)
    before = potential.evaluate(atoms.positions, atoms.cell[:])
    calculator = MACECalculator(str(MODEL), device="cpu", default_dtype="float64")
    for other in rattled(4, seed=5):
        other.calc = calculator
        other.get_forces()
    for again in (potential, models.MacePotential(MODEL, atoms.numbers, atoms.pbc)):
        after = again.evaluate(atoms.positions, atoms.cell[:])
        assert after.energy == before.energy
        assert np.array_equal(after.forces, before.forces)
        assert np.array_equal(after.stress, before.stress)


def test_without_periodicity_there_is_no_stress():
    atoms = rutile()
    atoms.pbc = False
    cell = atoms.cell[:].copy()
    answer = models.MacePotential(MODEL, atoms.numbers, atoms.pbc).evaluate(atoms.positions, cell)
    atoms.calc = MACECalculator(str(MODEL), device="cpu", default_dtype="float64")
    assert answer.stress is None
    assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_array_equal(cell, atoms.cell[:])


def test_is_a_pure_function_from_the_first_call_on():
    """A fresh model, in two orders of calls: TorchScript's profiling of the first call would show in the last bits."""
    cells = rattled(3, seed=8) + rattled(2, seed=9, repeat=(1, 1, 2))
    answers = []
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1, 0]):
        models._LOADED.clear()
        potentials = {len(a): models.MacePotential(MODEL, a.numbers, a.pbc) for a in cells}
        seen = {}
        for index in order:
            answer = potentials[len(cells[index])].evaluate(cells[index].positions, cells[index].cell[:])
            content = np.float64(answer.energy).tobytes() + answer.forces.tobytes() + answer.stress.tobytes()
            assert seen.setdefault(index, content) == content
        answers.append(seen)
    assert answers[0] == answers[1]


@pytest.mark.timeout(60)
def test_positions_that_are_not_finite_give_nan():
    """MACE's neighbour list does not return from them."""
    atoms = rutile()
    potential = models.MacePotential(MODEL, atoms.numbers, atoms.pbc)
    for bad in (np.nan, np.inf):
        positions = atoms.positions.copy()
        positions[1, 2] = bad
        answer = potential.evaluate(positions, atoms.cell[:])
        assert np.isnan(answer.energy)
        assert np.isnan(answer.forces).all()
        assert np.isnan(answer.stress).all()


def test_evaluation_leaves_its_arguments_alone():
    atoms = rattled(1, seed=2)[0]
    positions, cell = atoms.positions.copy(), atoms.cell[:].copy()
    models.MacePotential(MODEL, atoms.numbers, atoms.pbc).evaluate(positions, cell)
    np.testing.assert_array_equal(positions, atoms.positions)
    np.testing.assert_array_equal(cell, atoms.cell[:])


def test_forces_and_stress_are_gradients():
    atoms = rattled(1, seed=4)[0]
    potential = models.MacePotential(MODEL, atoms.numbers, atoms.pbc)
    answer = potential.evaluate(atoms.positions, atoms.cell[:])
    rng = np.random.default_rng(0)
    step = 1e-4
    direction = rng.normal(size=atoms.positions.shape)
    up, down = (potential.evaluate(atoms.positions + s * step * direction, atoms.cell[:]).energy for s in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(-np.sum(answer.forces * direction), rel=2e-5)
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    energies = []
    for sign in (1, -1):
        deform = np.eye(3) + sign * step * strain
        energies.append(potential.evaluate(atoms.positions @ deform, atoms.cell[:] @ deform).energy)
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(atoms.get_volume() * np.sum(answer.stress * strain), rel=2e-5)


def test_unknown_element_is_named_with_those_known():
    with pytest.raises(TaskError, match=r"does not know the element\(s\) Si; it knows H, N, O, Ti") as caught:
        models.MacePotential(MODEL, [14, 8, 8], [True] * 3)
    assert caught.value.kind == "bad_input"


def test_default_head_is_taken_and_others_by_name(two_heads):
    atoms = rutile()
    by_head = {
        head: models.MacePotential(two_heads, atoms.numbers, atoms.pbc, head).evaluate(atoms.positions, atoms.cell[:])
        for head in (None, "default", "pt_head")
    }
    assert by_head[None].energy == by_head["default"].energy
    # Same weights in both readouts? No: but E0s differ by 9 eV per O and 18 eV per Ti.
    assert abs(by_head["pt_head"].energy - by_head[None].energy - (4 * 9.0 + 2 * 18.0)) < 5.0
    assert models.reference_energies(models.read(two_heads)) == {8: -10.0, 22: -20.0}
    with pytest.raises(TaskError, match="no head 'nosuch'; it has pt_head, Default"):
        models.MacePotential(two_heads, atoms.numbers, atoms.pbc, "nosuch")
