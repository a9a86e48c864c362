"""SLHMC at constant pressure through AiiDA, really run."""

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.cells import cell_mass
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.worker.models import describe
from aiida_slhmc.worker.potentials import build_potential
from aiida_slhmc.worker.propose import kernel_settings
from aiida_slhmc.workflows.protocol import protocol_inputs
from aiida_slhmc.workflows.runfile import RunFileError, check
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain
from tests.fixtures import RIGHT, breathing, breathing_builder, rutile

from .test_slhmc import decisions


@pytest.fixture(scope="module")
def npt_run(aiida_profile):
    node = run_foreground(breathing_builder(budget={"chains": 1, "blocks": 1, "cycles": 4, "production_cycles": 3}))
    assert node.is_finished_ok, node.exit_message
    return node


def test_every_cycle_equals_the_bare_loop(npt_run):
    geometry = structure_payload(npt_run.inputs.structure)
    weighed = next(node for node in npt_run.called if node.process_label == "weigh_cell").outputs.result.get_dict()
    surfaces = [
        build_potential(level, geometry["numbers"], geometry["pbc"])
        for level in (breathing(RIGHT), npt_run.inputs.model.get_dict())
    ]
    law = npt_run.inputs.ensemble.get_dict()
    settings = kernel_settings({**weighed, **law, "cell_kind": law["cell"]})
    record = hmc.run_chain(
        geometry["positions"], geometry["cell"], geometry["masses"], *surfaces, settings,
        n_cycles=4, seed=npt_run.inputs.seed.value,
    )  # fmt: skip
    found = decisions(npt_run, 0)[:4]
    assert [decision["accepted"] for decision in found] == record.accepted.tolist()
    assert np.allclose([decision["delta"] for decision in found], record.deltas, rtol=1e-9, atol=1e-12)
    # Every endpoint has a cell of its own.
    cells = npt_run.outputs.dataset.frames()[0].get_array("cells")[1:]
    assert np.allclose(cells, record.endpoint_cells, rtol=0, atol=1e-11)
    assert len(np.unique(np.linalg.det(cells))) == 4


def test_the_decision_holds_both_hamiltonians_term_by_term(npt_run):
    for decision in decisions(npt_run, 0):
        terms = ("target", "kinetic", "cell_kinetic", "pressure_volume", "log_volume")
        delta = sum(decision[f"{term}_end"] - decision[f"{term}_start"] for term in terms)
        assert decision["delta"] == pytest.approx(delta, abs=1e-10)


def test_the_cells_mass_is_recorded_and_frozen(npt_run):
    settings = npt_run.outputs.proposal.get_dict()
    volume = rutile().cell.volume
    assert settings["cell_mass"] == pytest.approx(cell_mass(200.0, volume, 40.0, "isotropic"))
    kernel = npt_run.outputs.states.base.attributes.get("kernel")
    assert kernel["cell_mass"] == settings["cell_mass"]
    assert (kernel["ensemble"], kernel["pressure"], kernel["cell"]) == ("NPT", 5.0, "isotropic")
    assert audit(npt_run).passed


def test_a_mass_whose_period_follows_the_length_is_adapted_between_blocks_alone(aiida_profile):
    budget = {"chains": 1, "blocks": 2, "cycles": 2, "production_cycles": 2}
    run = run_foreground(breathing_builder(proposal={"cell_period": None, "length": 8}, budget=budget))
    assert run.is_finished_ok, run.exit_message
    rows = run.outputs.history.get_dict()["blocks"]
    lengths, masses = [row["length"] for row in rows], [row["cell_mass"] for row in rows]
    volume = rutile().cell.volume
    assert masses[0] == pytest.approx(cell_mass(200.0, volume, 2 * 8 * 1.0, "isotropic"))
    assert lengths[1] != lengths[0]
    assert np.allclose(np.array(masses) / masses[0], (np.array(lengths) / lengths[0]) ** 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ensemble": {"pressure": None}}, "ensemble.pressure is missing"),
        ({"ensemble": {"ensemble": "NVT"}}, "ensemble.pressure is given, but the ensemble is NVT"),
        ({"ensemble": {"cell": "cubic"}}, "ensemble.cell .* must be one of isotropic, orthorhombic, flexible"),
        ({"proposal": {"cell_mass": -1.0}}, "proposal.cell_mass"),
        ({"proposal": {"max_volume_change": 0.9}}, "proposal.max_volume_change .* greater than 1"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(aiida_profile, change, says):
    builder = breathing_builder()
    for group, values in change.items():
        # The builder itself asks the ports' validators.
        with pytest.raises(ValueError, match=says):
            builder[group] = orm.Dict({**builder[group].get_dict(), **values})


def test_a_cell_that_is_not_of_the_kind_is_refused(aiida_profile):
    atoms = rutile()
    atoms.set_cell(atoms.cell[:] @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), scale_atoms=True)
    builder = breathing_builder(cell="orthorhombic")
    builder.structure = orm.StructureData(ase=atoms)
    with pytest.raises(RunFileError, match=r"structure: an orthorhombic cell .* turn it"):
        check(builder)


def test_a_proposal_surface_without_stress_is_refused(aiida_profile):
    from tests.fixtures import einstein

    builder = breathing_builder()
    builder.model = orm.Dict(einstein(RIGHT))
    with pytest.raises(RunFileError, match="model: at constant pressure a proposal surface needs a stress"):
        check(builder)


def test_an_npt_run_that_names_no_pressure_is_at_one_atmosphere():
    settings = protocol_inputs("fast", {"ensemble": {"ensemble": "NPT", "temperature": 600.0}})["ensemble"]
    assert settings == {"ensemble": "NPT", "temperature": 600.0, "pressure": 1.01325e-4, "cell": "flexible"}
    assert protocol_inputs("fast")["ensemble"]["pressure"] is None
    chosen = protocol_inputs("fast", {"ensemble": {"ensemble": "NPT", "cell": "isotropic"}})["ensemble"]
    assert chosen["cell"] == "isotropic"


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["isotropic", "orthorhombic", "flexible"])
def test_tio2_with_mace_and_chgnet(aiida_profile, cell):
    """The shipped model proposes, CHGNet's r2SCAN surface decides: the cell moves, the model learns."""
    path = models.path("tio2-pbe-small")
    builder = SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=MaceModelData(path, description=dict(describe(path))),
        level={"engine": "chgnet", "functional": "r2scan"},
        seed=2,
        protocol="fast",
        overrides={
            "ensemble": {"ensemble": "NPT", "cell": cell},
            "budget": {"chains": 2, "blocks": 1, "cycles": 6, "production_cycles": 4},
            "finetune": {"max_epochs": 5},
        },
    )
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    cells = run.outputs.states.get_array("cells")
    volumes = np.linalg.det(cells) / 2
    # PBE 32.1, r2SCAN 31.3 Å³ per formula unit; the volume of one cell fluctuates by 0.6.
    assert 28.0 < volumes.min() <= volumes.max() < 35.5
    assert np.ptp(volumes) > 0
    ratios = cells[:, 0, 0] / cells[:, 2, 2]
    assert (np.ptp(ratios) < 1e-9) == (cell == "isotropic")
    assert (np.abs(cells[:, 1, 0]).max() > 1e-6) == (cell == "flexible")
    # The target's stresses are stored, and can be trained on.
    assert np.isfinite(run.outputs.dataset.frames()[0].get_array("stresses")).all()
    assert audit(run).passed
