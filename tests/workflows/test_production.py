"""Production: adaptive states and production states are told apart, and a finished run can be gone on from."""

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_slhmc.calculations.states import chain_states
from aiida_slhmc.cli import main
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.workflows.ensemble import validate_states
from aiida_slhmc.workflows.production import ProductionWorkChain
from tests.fixtures import analytic_builder

from .test_slhmc import decisions


@pytest.fixture(scope="module")
def produced(analytic_run):
    builder = ProductionWorkChain.get_builder_from_run(analytic_run, cycles=3)
    node = run_foreground(builder)
    assert node.is_finished_ok, node.exit_message
    return node


def test_it_goes_on_as_the_run_itself_would_have(analytic_run, produced):
    longer = run_foreground(analytic_builder(budget={"production_cycles": 5}))
    for chain in range(2):
        whole = decisions(longer, chain)
        assert decisions(analytic_run, chain) + decisions(produced, chain) == whole
    states = [node.outputs.states.get_array("positions") for node in (analytic_run, produced, longer)]
    for chain in range(2):
        parts = np.concatenate([states[0][2 * chain : 2 * chain + 2], states[1][3 * chain : 3 * chain + 3]])
        assert np.array_equal(parts, states[2][5 * chain : 5 * chain + 5])


def test_nothing_changes_in_production(analytic_run, produced):
    kernels = [node.outputs.states.base.attributes.get("kernel") for node in (analytic_run, produced)]
    assert kernels[0] == kernels[1]
    assert produced.outputs.proposal.uuid == analytic_run.outputs.proposal.uuid
    assert produced.outputs.model.uuid == analytic_run.outputs.model.uuid
    assert "dataset" not in produced.outputs
    assert not [node for node in produced.called if node.process_label in ("adapt_length", "finetune_local", "extend")]
    assert audit(produced).passed


def test_it_can_be_gone_on_from_again(produced):
    node = run_foreground(ProductionWorkChain.get_builder_from_run(produced, cycles=1))
    assert node.is_finished_ok, node.exit_message
    assert [decision["cycle"] for decision in decisions(node, 0)] == [8]


def test_states_are_told_apart(analytic_run):
    assert analytic_run.outputs.states.base.attributes.get("kind") == "production"
    assert validate_states(analytic_run.outputs.states, None) is None
    inputs = {"ensemble": analytic_run.inputs.ensemble, "proposal": analytic_run.inputs.proposal}
    inputs["model"] = analytic_run.inputs.model
    adaptive = analytic_run.outputs.dataset.frames()[0]
    guided = chain_states(chunk=adaptive, **inputs)
    assert guided.base.attributes.get("kind") == "target-guided"
    assert "no sample of the target's ensemble" in validate_states(guided, None)
    # What came from elsewhere does not say what it is.
    assert validate_states(orm.ArrayData({"positions": np.zeros((1, 1, 3))}), None)


def test_what_cannot_be_gone_on_from(analytic_run):
    with pytest.raises(ValueError, match="at least 1 cycle"):
        ProductionWorkChain.get_builder_from_run(analytic_run, cycles=0)
    chain = next(child for child in analytic_run.called if child.process_label == "ChainWorkChain")
    with pytest.raises(ValueError, match="does not say where its chains stand"):
        ProductionWorkChain.get_builder_from_run(chain, cycles=1)
    with pytest.raises(ValueError, match="'ensemble' cannot be changed for production"):
        ProductionWorkChain.get_builder_from_run(analytic_run, cycles=1, overrides={"ensemble": {"temperature": 1.0}})
    builder = ProductionWorkChain.get_builder_from_run(analytic_run, cycles=1)
    del builder.ends["state_chain_001"]
    assert "ends.state_chain_001 is missing" in str(
        ProductionWorkChain.spec().inputs.validate(builder._inputs(prune=True))
    )


def test_the_command(analytic_run):
    result = CliRunner().invoke(main, ["produce", str(analytic_run.pk), "--cycles", "1", "--plain"])
    assert result.exit_code == 0, result.output
    assert "finished" in result.output
    refused = CliRunner().invoke(main, ["produce", "0", "--cycles", "1"])
    assert refused.exit_code == 2
    assert "there is no process" in refused.output
