import json
import subprocess
import sys

import mace  # noqa: F401  (before e3nn)
import numpy as np
import pytest
from ase import units

from aiida_slhmc import models as shipped
from aiida_slhmc.worker.models import MacePotential, describe
from aiida_slhmc.worker.potentials import build_potential

from ..worker.rutile import rattled, rutile

PBE = {"engine": "chgnet", "functional": "PBE", "parameters": {}}


def pressure(stress: np.ndarray) -> float:
    """Return the pressure in GPa of a stress in eV/Å³."""
    return float(-np.trace(stress) / 3 / units.GPa)


def test_names_and_paths():
    assert "tio2-pbe-small" in shipped.names()
    with pytest.raises(KeyError, match="tio2-pbe-small"):
        shipped.path("none")


def test_looking_for_a_model_imports_nothing_heavy():
    code = "import sys; from aiida_slhmc import models; models.path('tio2-pbe-small'); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("name", shipped.names())
def test_file_is_the_one_its_card_describes(name):
    card = json.loads(shipped.path(name).with_suffix(".json").read_text(encoding="utf-8"))
    description = describe(shipped.path(name))
    for key in (
        "file_sha256",
        "state_sha256",
        "atomic_numbers",
        "r_max",
        "dtype",
        "heads",
        "atomic_energies",
        "parameters",
    ):
        assert card[key] == description[key]
    assert shipped.path(name).stat().st_size < 600_000
    assert card["errors"]["test"]["forces_mev_per_angstrom"] < 90
    assert card["errors"]["test"]["energy_mev_per_atom"] < 5
    assert "CHGNet" in (shipped.FOLDER / "NOTICE.md").read_text(encoding="utf-8")


def test_follows_chgnets_pbe_surface():
    """The pressure is what tells PBE from r2SCAN (0.5 GPa) at the experimental cell; the labels say 6.2 GPa there."""
    teacher = build_potential(PBE, rutile().numbers, [True] * 3)
    student = MacePotential(shipped.path("tio2-pbe-small"), rutile().numbers, [True] * 3)
    for a, c in ((4.594, 2.959), (4.65, 2.966), (4.50, 2.90)):
        atoms = rutile(a, c)
        wanted, got = (p.evaluate(atoms.positions, atoms.cell[:]) for p in (teacher, student))
        assert pressure(got.stress) == pytest.approx(pressure(wanted.stress), abs=0.6)
        assert got.energy / 6 == pytest.approx(wanted.energy / 6, abs=0.004)
    assert 5.5 < pressure(student.evaluate(rutile().positions, rutile().cell[:]).stress) < 7.0
    errors = []
    for atoms in rattled(4, seed=1):
        wanted, got = (p.evaluate(atoms.positions, atoms.cell[:]) for p in (teacher, student))
        errors.append(got.forces - wanted.forces)
    assert np.sqrt(np.mean(np.square(errors))) < 0.12
