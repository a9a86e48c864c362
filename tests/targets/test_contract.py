"""The contract test passes our targets, and fails every defect that it is there for."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.targets import registry
from aiida_slhmc.targets.contract import ContractError, Tolerances, check_target
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.port import Target
from aiida_slhmc.targets.process import ProcessTarget
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.label import label
from aiida_slhmc.worker.potentials import build_potential

EMT = {"engine": "ase", "parameters": {"calculator": "emt"}}


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.5)
    atoms.rattle(0.06, seed=1)
    return atoms


def rutile() -> Atoms:
    a, c, u = 4.5, 2.9, 0.305
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    atoms = Atoms("Ti2O4", scaled_positions=np.mod(fractions, 1.0), cell=[a, a, c], pbc=True)
    atoms.rattle(0.06, seed=1)
    return atoms


@pytest.mark.parametrize("functional", ["PBE", "r2SCAN"])
def test_chgnet_keeps_the_contract(functional):
    level = {"engine": "chgnet", "functional": functional}
    report = check_target(level, rutile(), translation=True, extensive=True)
    assert report.engine == "chgnet"
    assert report.repeat_error == 0.0
    assert report.force_error < 2e-4
    assert report.stress_error < 1e-4
    # Total, not per atom.
    assert report.energy < -50
    assert report.extensivity_error < 1e-8
    assert report.translation_error < 1e-8


def test_ase_keeps_the_contract():
    assert check_target(EMT, copper()).repeat_error == 0.0


def test_einstein_keeps_the_contract():
    sites = copper().get_positions() + 0.05
    level = {"engine": "einstein", "parameters": {"sites": sites.tolist(), "spring_constant": 2.0}}
    report = check_target(level, copper())
    assert report.force_error < 1e-8
    assert math.isnan(report.stress_error)


#: 6 atoms of rutile; what GPAW is tried with: cheap, and the largest number of labels that a lane can wait for.
GPAW = {"engine": "gpaw", "parameters": {"cutoff": 340.0}}


@pytest.mark.dft
@pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed: scripts/install_gpaw.sh")
class TestGpaw:
    """True DFT."""

    def test_it_keeps_the_contract(self):
        level = {"engine": "gpaw", "functional": "PBE", "parameters": {"cutoff": 700.0}}
        atoms = bulk("MgO", "rocksalt", a=4.05)
        atoms.rattle(0.05, seed=1)
        # Some Pulay stress is left at this cut-off.
        report = check_target(level, atoms, tolerances=Tolerances(stress=0.01), directions=1)
        assert report.repeat_error < 1e-9
        assert report.force_error < 5e-3

    @pytest.mark.parametrize("functional", ["PBE", "r2SCAN"])
    def test_forces_of_rutile(self, functional):
        # Without a stress at this cut-off: 4 labels.
        report = check_target({**GPAW, "functional": functional}, rutile(), directions=1)
        assert report.repeat_error < 1e-9
        assert report.force_error < 5e-3
        assert math.isnan(report.stress_error)

    @pytest.mark.timeout(1500)
    def test_forces_of_rutile_with_a_hybrid(self):
        """3 labels of 44 s and more: what the contract asks, without the repetition."""
        level = normalise({**GPAW, "functional": "HSE06", "parameters": {"cutoff": 340.0}})
        atoms, step = rutile(), 2e-3
        potential = build_potential(level, atoms.numbers, atoms.pbc)
        answer = potential.evaluate(atoms.positions, atoms.cell[:])
        assert answer.stress is None
        direction = answer.forces / np.linalg.norm(answer.forces)
        ends = [potential.evaluate(atoms.positions + s * step * direction, atoms.cell[:]).energy for s in (1, -1)]
        numerical = -(ends[0] - ends[1]) / (2 * step)
        assert np.linalg.norm(answer.forces) == pytest.approx(numerical, abs=1e-2)


# -- planted defects


@dataclass
class Defect:
    """What is wrong with an adapter around EMT.

    ``energy``, ``forces`` and ``stress`` multiply what is right.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    no_stress: bool = False
    asymmetric: bool = False
    noise: float = 0.0
    history: float = 0.0


class Adapter:
    """EMT with a defect."""

    defect: ClassVar[Defect] = Defect()

    def __init__(self, spec, numbers, pbc):
        if spec["functional"] != "EMT":
            raise TaskError("bad_input", "there is no such functional.")
        self.inner = build_potential({**spec, "engine": "ase", "parameters": {"calculator": "emt"}}, numbers, pbc)

    calls: ClassVar[list[float]] = []

    def evaluate(self, positions, cell):
        right, defect = self.inner.evaluate(positions, cell), self.defect
        rng = np.random.default_rng()
        energy = right.energy * defect.energy + defect.noise * rng.standard_normal()
        # Starts from where the last calculation ended.
        energy += defect.history * len(self.calls)
        self.calls.append(energy)
        stress = None if defect.no_stress else right.stress * defect.stress
        if stress is not None and defect.asymmetric:
            stress = stress + np.array([[0.0, 0.1, 0.0], [0.0] * 3, [0.0] * 3])
        return Evaluation(energy, right.forces * defect.forces, stress)


class Planted(Target):
    """Its description."""

    name = "planted"
    functionals = ("EMT",)
    default_functional = "EMT"
    defaults = {"a": 1.0}


class Careless(Planted):
    """Takes any level of theory."""

    def check(self, level):
        """Check nothing."""


class Forgetful(Planted):
    """Writes its defaults anew each time."""

    def complete(self, functional, parameters):
        return {**parameters, "a": parameters.get("a", 0.0) + 1.0}


class Talkative(Planted):
    """Refuses in a traceback."""

    def check(self, level):
        try:
            super().check(level)
        except ValueError as error:
            raise ValueError(f"{error}\nTraceback ...") from error


def plant(monkeypatch, defect: Defect, target: str = "Planted") -> None:
    monkeypatch.setattr(Adapter, "defect", defect)
    monkeypatch.setattr(Adapter, "calls", [])
    targets = [EntryPoint("planted", f"{__name__}:{target}", registry.GROUP)]
    potentials = [EntryPoint("planted", f"{__name__}:Adapter", "aiida_slhmc.potentials")]
    monkeypatch.setattr(registry, "entry_points", lambda group: targets)
    monkeypatch.setattr("aiida_slhmc.worker.potentials.entry_points", lambda group: potentials)
    monkeypatch.setattr("aiida_slhmc.worker.label.engine_version", lambda engine: "1.0")


def test_a_right_adapter_passes(monkeypatch):
    plant(monkeypatch, Defect())
    report = check_target({"engine": "planted"}, copper())
    assert report.version == "1.0"
    assert report.stress_error < 1e-5


@pytest.mark.parametrize(
    ("defect", "says"),
    [
        (Defect(energy=1 / 4), "gradient of the total energy.*the energy seems to be per atom"),
        (Defect(forces=-1.0), "gradient of the total energy.*opposite sign"),
        (Defect(forces=units.Bohr / units.Hartree), "gradient of the total energy.*Hartree/Bohr"),
        (Defect(forces=1.02), "gradient of the total energy"),
        (Defect(stress=-1.0), "derivative of the energy with the strain.*opposite sign"),
        (Defect(stress=1 / units.GPa), "derivative of the energy with the strain.*GPa"),
        (Defect(stress=-10 / units.GPa), "derivative of the energy with the strain.*kBar, with the opposite sign"),
        (Defect(stress=3.5**3), "derivative of the energy with the strain.*not divided by the volume"),
        (Defect(stress=1.05), "derivative of the energy with the strain"),
        (Defect(asymmetric=True), "not symmetric"),
        (Defect(no_stress=True), "has_stress says True, but the label has no stress"),
        (Defect(history=4e-6), "two labels of one structure differ"),
        (Defect(noise=1e-1), "gradient of the total energy|two labels of one structure differ"),
        (Defect(forces=0.0), "forces of exactly zero"),
        (Defect(forces=1e-3), "displace the atoms further"),
        (Defect(stress=0.0), "strain the cell"),
        (Defect(energy=math.nan), "energy is nan"),
    ],
)
def test_a_defect_is_found(monkeypatch, defect, says):
    plant(monkeypatch, defect)
    with pytest.raises((ContractError, TaskError), match=says):
        check_target({"engine": "planted"}, copper())


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("Careless", "an unknown parameter is not refused"),
        ("Forgetful", "normalising a level of theory twice gives another one"),
        ("Talkative", "must be refused with one sentence"),
    ],
)
def test_a_careless_description_is_found(monkeypatch, target, says):
    plant(monkeypatch, Defect(), target)
    with pytest.raises(ContractError, match=says):
        check_target({"engine": "planted"}, copper())


def test_an_adapter_that_ignores_the_functional_is_found(monkeypatch):
    plant(monkeypatch, Defect())

    class Deaf(Adapter):
        def __init__(self, spec, numbers, pbc):
            super().__init__({**spec, "functional": "EMT"}, numbers, pbc)

    monkeypatch.setitem(globals(), "Adapter", Deaf)
    with pytest.raises(ContractError, match="an unknown functional gives a label"):
        check_target({"engine": "planted"}, copper())


def test_a_sum_that_is_no_sum_is_found(monkeypatch):
    """What is consistent within one cell, and yet not total: energy, forces and stress of an average atom."""
    plant(monkeypatch, Defect(energy=1 / 4, forces=1 / 4, stress=1 / 4))

    class Average(Adapter):
        def __init__(self, spec, numbers, pbc):
            super().__init__(spec, numbers, pbc)
            self.defect = Defect(*[1 / len(numbers)] * 3)

    monkeypatch.setitem(globals(), "Adapter", Average)
    assert check_target({"engine": "planted"}, copper()).force_error < 5e-3
    with pytest.raises(ContractError, match="not twice the energy; the energy seems to be per atom"):
        check_target({"engine": "planted"}, copper(), extensive=True)


def test_a_place_that_matters_is_found():
    sites = copper().get_positions() + 0.05
    level = {"engine": "einstein", "parameters": {"sites": sites.tolist(), "spring_constant": 2.0}}
    with pytest.raises(ContractError, match="when the structure is moved as a whole"):
        check_target(level, copper(), translation=True)


def test_a_process_is_labelled_as_the_caller_says(monkeypatch):
    class Elsewhere(ProcessTarget, Planted):
        """Labelled by another plugin."""

        def builder(self, inputs, previous=()):
            raise AssertionError("the caller labels")

        def reading(self, process):
            raise AssertionError("the caller labels")

    plant(monkeypatch, Defect())
    monkeypatch.setitem(globals(), "Planted", Elsewhere)
    with pytest.raises(ContractError, match="labelled by a process: say how with 'label'"):
        check_target({"engine": "planted"}, copper())
    report = check_target({"engine": "planted"}, copper(), label=label, translation=True, extensive=True)
    assert report.force_error < 5e-3
    assert report.extensivity_error < 1e-8


def test_an_unknown_version_is_found(monkeypatch):
    plant(monkeypatch, Defect())
    monkeypatch.setattr("aiida_slhmc.worker.label.engine_version", lambda engine: "unknown")
    with pytest.raises(ContractError, match="version of the engine is unknown"):
        check_target({"engine": "planted"}, copper())


def test_a_structure_at_rest_tells_nothing():
    """It must not pass because there is nothing to see."""
    with pytest.raises(ContractError, match="displace the atoms further"):
        check_target(EMT, bulk("Cu", cubic=True, a=3.5))


def test_a_cell_at_rest_tells_nothing():
    atoms = bulk("Cu", cubic=True, a=3.59)
    atoms.rattle(0.03, seed=1)
    tight = Tolerances()
    with pytest.raises(ContractError, match="strain the cell"):
        check_target(EMT, atoms, tolerances=replace(tight, stress=0.05))
