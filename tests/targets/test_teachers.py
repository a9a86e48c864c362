"""Teachers are declared as what they are: the hash of the weights, the head, the precision, and what they stand for."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from aiida_slhmc import models
from aiida_slhmc.targets.contract import check_target
from aiida_slhmc.targets.level import level_hash, normalise, validate
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.foundations import file_sha256
from aiida_slhmc.worker.potentials import build_potential
from tests.worker.rutile import rutile

SHIPPED = models.path("tio2-pbe-small")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return an empty folder of weights."""
    folder = tmp_path / "weights"
    monkeypatch.setenv("SLHMC_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def foreign(tmp_path):
    """Return the file of a model that does not come with the package: other weights, another hash."""
    from aiida_slhmc.worker.models import read, save

    model = read(SHIPPED)
    model.scale_shift.scale *= 1.1
    path = tmp_path / "mine.model"
    save(model, path)
    return path


def level(model, **more):
    return {"engine": "mace", "functional": "MACE of ours (PBE)", "parameters": {"model": str(model), **more}}


def strained():
    atoms = rutile()
    atoms.set_cell(atoms.cell[:] * 0.98, scale_atoms=True)
    atoms.rattle(0.06, seed=1)
    return atoms


def test_a_shipped_model_keeps_the_contract(store):
    report = check_target(level("tio2-pbe-small"), strained())
    assert report.repeat_error == 0.0
    assert report.force_error < 1e-4
    assert report.stress_error < 1e-4
    assert not store.exists()


def test_any_file_is_named_by_its_hash_and_kept(store, foreign):
    complete = normalise(level(foreign))
    digest = file_sha256(foreign)
    assert complete["parameters"] == {"model": digest, "head": "", "precision": "float64"}
    assert str(foreign) not in str(complete)
    # The path that it came from is of no concern any more.
    foreign.unlink()
    atoms = strained()
    potential = build_potential(complete, atoms.numbers, atoms.pbc)
    shipped = build_potential(normalise(level("tio2-pbe-small")), atoms.numbers, atoms.pbc)
    energies = [p.evaluate(atoms.positions, atoms.cell[:]).energy for p in (potential, shipped)]
    assert abs(energies[0] - energies[1]) > 0.01
    assert get_target("mace").files(complete) == {f"{digest}.model": store / f"{digest}.model"}


def test_where_the_file_was_does_not_matter(store, foreign, tmp_path):
    other = shutil.copyfile(foreign, tmp_path / "other.model")
    assert level_hash(normalise(level(foreign))) == level_hash(normalise(level(other)))
    assert level_hash(normalise(level(foreign))) != level_hash(normalise(level(foreign, precision="float32")))


def test_a_file_that_was_changed_since_is_refused(store, foreign, monkeypatch):
    complete = normalise(level(foreign))
    kept = store / f"{complete['parameters']['model']}.model"
    kept.write_bytes(SHIPPED.read_bytes())
    # A process that has loaded the right weights goes on with them; this one has not.
    models_module = importlib.import_module("aiida_slhmc.worker.models")
    monkeypatch.setattr(models_module, "_LOADED", {})
    with pytest.raises(TaskError, match="is not the one it should be") as caught:
        build_potential(complete, [22], [True] * 3)
    assert caught.value.kind == "bad_input"


def test_weights_that_are_not_here(store):
    theory = normalise(level("0" * 64))
    with pytest.raises(TaskError, match=r"weights 000000000000\.\.\. .* not on this machine: copy their file to"):
        build_potential(theory, [22], [True] * 3)
    assert get_target("mace").files(theory) == {}


def test_precision(store):
    """The shipped model is kept in float32; in float64 the energy is smooth along a line of 1e-4 Å."""
    atoms = strained()
    direction = np.random.default_rng(6).standard_normal((6, 3))
    x, roughness = np.linspace(0, 1e-4, 15), {}
    for precision in ("float32", "float64"):
        theory = normalise(level("tio2-pbe-small", precision=precision))
        potential = build_potential(theory, atoms.numbers, atoms.pbc)
        e = [potential.evaluate(atoms.positions + step * direction, atoms.cell[:]).energy for step in x]
        roughness[precision] = np.std(np.array(e) - np.polynomial.Polynomial.fit(x, e, 2)(x))
    assert roughness["float64"] < 1e-10
    assert roughness["float32"] > 1e-8


def test_an_unknown_head(store):
    with pytest.raises(TaskError, match="head 'r2scan'") as caught:
        build_potential(normalise(level("tio2-pbe-small", head="r2scan")), [22], [True] * 3)
    assert caught.value.kind == "bad_input"


@pytest.mark.parametrize(
    ("theory", "says"),
    [
        ({"engine": "mace", "parameters": {"model": "tio2-pbe-small"}}, "needs 'functional': declare"),
        ({"engine": "mace", "functional": "PBE"}, "needs the parameter 'model'"),
        (level("no/such.model"), "no model file 'no/such.model'"),
        (level("tio2-pbe-small", precision="half"), "float64 or float32"),
        (level("tio2-pbe-small", head=3), "'head' must be"),
        ({"engine": "mace", "functional": "PBE", "parameters": {"model": 3}}, "a path, a name or the SHA-256"),
        ({"engine": "sevennet", "functional": "HSE06"}, "no functional 'HSE06'; it has PBE, r2SCAN"),
        ({"engine": "sevennet", "parameters": {"model": "7net-0"}}, "must be SevenNet-MF-0"),
        ({"engine": "sevennet", "parameters": {"precision": "half"}}, "float64 or float32"),
    ],
)
def test_a_wrong_level_is_refused(store, theory, says):
    with pytest.raises(ValueError, match=says) as caught:
        validate(theory)
    assert "\n" not in str(caught.value)


def test_teachers_need_neither_torch_nor_aiida():
    code = (
        "import sys; from aiida_slhmc.targets import level, teachers; "
        "level.validate({'engine': 'mace', 'functional': 'PBE', 'parameters': {'model': 'tio2-pbe-small'}}); "
        "level.validate({'engine': 'sevennet'}); "
        "print([name for name in ('torch', 'mace', 'sevenn', 'aiida') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sevennet_is_not_here_and_says_where_it_lives():
    pytest.importorskip("mace", reason="where MACE is, SevenNet cannot be")
    with pytest.raises(TaskError, match=r"scripts/install_sevennet\.sh") as caught:
        build_potential(normalise({"engine": "sevennet"}), [22], [True] * 3)
    assert caught.value.kind == "missing_dependency"
