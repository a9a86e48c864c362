"""The recipes of docs/how-to/queries.md, run as they are printed, against what the runs themselves say."""

import re
from pathlib import Path

import pytest
from ase.units import kB

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.progress import run_decisions
from tests.fixtures import RIGHT, analytic_builder, einstein

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "queries.md"
BLOCK = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(trained_run):
    """Return what the page's code leaves: its blocks in order, on a run of the test profile."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    names: dict = {}
    for block in blocks:
        code = block.replace("load_profile()\n", "").replace("orm.load_node(1234)", f"orm.load_node({trained_run.pk})")
        exec(compile(code, str(PAGE), "exec"), names)
    assert len(blocks) == 7
    return names


def deciding(run):
    return [node for node in run.called_descendants if node.process_label == "metropolis"]


def test_labels_that_trained_a_model(page, trained_run):
    dataset = trained_run.outputs.model.creator.inputs.dataset
    assert page["labels"] == {uuid for chunk in dataset.frames() for uuid in chunk.label_uuids}
    assert len(page["labels"]) == 5
    first = page["labels_of"](trained_run.outputs.models.block_000)
    assert first < page["labels"]


def test_decisions_that_used_a_label(page, trained_run):
    found = 0
    for label in page["labels"]:
        uses = {
            (node.outputs.decision["chain"], node.outputs.decision["cycle"], role)
            for node in deciding(trained_run)
            for role in ("label", "endpoint_label")
            if role in node.inputs and node.inputs[role].uuid == label
        }
        assert {(chain, cycle, role) for chain, cycle, _, role, *_ in page["decisions_with"](label)} == uses
        found += len(uses)
    assert found >= 5


@pytest.mark.parametrize("multiple", [5, 0.01])
def test_rejected_states(page, analytic_run, multiple):
    beyond = multiple * kB * 300.0
    wanted = {
        (row["chain"], row["cycle"])
        for row in run_decisions(analytic_run)
        if not row["accepted"] and row["delta"] > beyond
    }
    rows = page["rejected_beyond"](analytic_run, multiple)
    assert {(chain, cycle) for chain, cycle, *_ in rows} == wanted
    assert all(len(endpoint.sites) == 6 for *_, endpoint in rows)
    if multiple < 1:
        assert wanted


def test_what_was_computed_at_a_level(page, trained_run):
    rows = page["everything"]
    assert page["labels"] <= {uuid for uuid, _, _ in rows}
    assert {formula for _, formula, _ in rows} == {"O4Ti2"}
    assert page["computed_at"](einstein(RIGHT + 0.123)) == []


def test_labels_that_runs_share(page):
    """Two chains that part after their first cycle share the label of their start."""
    budget = {"chains": 1, "blocks": 1, "cycles": 1, "production_cycles": 0}
    runs = [
        run_foreground(analytic_builder(seed, target=einstein(5.5), budget=budget, labelling={"reuse": True}))
        for seed in (77, 78)
    ]
    start = {node.outputs.label.uuid for run in runs for node in run.called if node.process_label == "LabelWorkChain"}
    assert len(start) == 1
    assert page["shared_labels"](*runs) == start


def test_models_of_a_foundation(page, trained_run):
    made = {trained_run.outputs.models.block_000.uuid, trained_run.outputs.model.uuid}
    assert made <= {uuid for uuid, _ in page["models"]}
    assert trained_run.inputs.model.uuid not in {uuid for uuid, _ in page["models"]}
    assert {uuid for uuid, _ in page["descendants"](trained_run.outputs.models.block_000)} == {
        trained_run.outputs.model.uuid
    }
