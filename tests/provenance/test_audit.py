"""The audit passes on a whole graph and finds each planted fault."""

import json
import time

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc import __version__
from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.label import label_local
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.labels import make_label
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance import computed
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.numbers import ReportNumber, check_report, numbers_json
from tests.fixtures import analytic_builder, einstein, rutile


def kinds(root):
    return {finding.kind for finding in audit(root).findings}


def finished(node):
    node.base.attributes.set("version", {"core": "2.9.4", "plugin": "0.1.0"})
    node.set_process_state("finished")
    node.set_exit_status(0)
    return node


def workflow(**inputs):
    """Return a workflow node that a user started with these inputs."""
    node = finished(orm.WorkChainNode())
    for name, data in inputs.items():
        node.base.links.add_incoming(data, LinkType.INPUT_WORK, name)
    return node.store()


def step(name, caller, **inputs):
    """Return a step of ours that the workflow called."""
    node = finished(orm.CalcFunctionNode())
    node.process_type = f"aiida.calculations:slhmc.{name}"
    for label, data in inputs.items():
        node.base.links.add_incoming(data, LinkType.INPUT_CALC, label)
    node.base.links.add_incoming(caller, LinkType.CALL_CALC, name)
    node.store().seal()
    return node


def test_whole_run_passes(analytic_run):
    report = audit(analytic_run)
    assert report.passed, report.findings
    assert report.frames == analytic_run.outputs.dataset.n_frames
    assert report.processes > 40


def test_a_planted_orphan_is_found(analytic_run):
    """A dataset made by hand from real chunks, as ``self.ctx.dataset += chunk`` in a WorkChain's step makes it."""
    whole = analytic_run.outputs.dataset
    orphan = DatasetData(whole.chunks, whole.chunk_uuids).store()
    root = workflow(seed=analytic_run.inputs.seed)
    orphan.base.links.add_incoming(root, LinkType.RETURN, "dataset")
    root.seal()
    assert [(finding.kind, finding.uuid) for finding in audit(root).findings if finding.kind == "orphan"] == [
        ("orphan", orphan.uuid)
    ]


def test_a_step_without_its_seed_is_found(aiida_profile):
    budget = orm.Dict({"chains": 1}).store()
    root = workflow(budget=budget)
    process = step("streams", root, budget=budget)
    root.seal()
    assert [(finding.kind, finding.uuid) for finding in audit(root).findings] == [("seed", process.uuid)]


def test_a_seed_that_the_run_did_not_declare_is_found(aiida_profile):
    declared, drawn = orm.Int(3).store(), orm.Int(4).store()
    root = workflow(seed=declared)
    step("streams", root, seed=drawn)
    root.seal()
    assert kinds(root) == {"seed", "orphan"}


def test_a_seed_in_a_stream_counts_like_one_of_its_own(aiida_profile):
    seed, stream = orm.Int(3).store(), orm.Dict({"seed": 4, "chain": 0, "cycle": 0}).store()
    root = workflow(seed=seed, stream=stream)
    step("propose", root, stream=stream)
    root.seal()
    assert kinds(root) == {"seed"}


def test_a_frame_that_differs_from_its_label_is_found(analytic_run):
    chunk = analytic_run.outputs.dataset.frames()[0]
    arrays = chunk.arrays
    arrays["energies"] = arrays["energies"] + 1e-9
    forged = FramesData(arrays, level_hash=chunk.level_hash, label_uuids=chunk.label_uuids).store()
    seed, split = orm.Int(1).store(), orm.Dict({"valid_fraction": 0.1}).store()
    _, process = extend.run_get_node(chunk=forged, seed=seed, split=split)
    report = audit(process)
    assert not report.passed
    assert all(finding.kind == "frame" for finding in report.findings)
    assert report.frames == 0


def test_an_unfinished_process_is_found(aiida_profile):
    root = orm.WorkChainNode()
    root.set_process_state("running")
    root.store()
    assert kinds(root) == {"unfinished"}


def labelled_by(structure, level, asked=None, asked_level=None):
    """Return a run whose labelling WorkChain returned the label of a structure and a level, asked for others or not."""
    label = label_local(structure, level)["label"]
    structure, level = asked or structure, asked_level or level
    root = workflow(structure=structure, level=level)
    child = finished(orm.WorkChainNode())
    child.process_type = "aiida.workflows:slhmc.label"
    child.base.links.add_incoming(structure, LinkType.INPUT_WORK, "structure")
    child.base.links.add_incoming(level, LinkType.INPUT_WORK, "target__level")
    child.base.links.add_incoming(root, LinkType.CALL_WORK, "start_000")
    child.store()
    label.base.links.add_incoming(child, LinkType.RETURN, "label")
    child.seal()
    root.seal()
    return root, label


def test_a_label_of_another_run_is_no_fault(aiida_profile):
    structure = orm.StructureData(ase=rutile()).store()
    asked = orm.StructureData(ase=rutile()).store()
    root, _ = labelled_by(structure, orm.Dict(einstein(4.1)).store(), asked)
    report = audit(root)
    assert report.passed, report.findings


def test_a_label_of_another_structure_than_was_asked_for_is_found(aiida_profile):
    atoms = rutile()
    atoms.positions[0, 0] += 1e-9
    structure, asked = orm.StructureData(ase=atoms).store(), orm.StructureData(ase=rutile()).store()
    root, label = labelled_by(structure, orm.Dict(einstein(4.2)).store(), asked)
    [finding] = audit(root).findings
    assert (finding.kind, finding.uuid) == ("label", label.uuid)
    assert "another structure than was asked for" in finding.message


def test_a_label_of_another_level_of_theory_than_was_asked_for_is_found(aiida_profile):
    structure = orm.StructureData(ase=rutile()).store()
    asked = orm.Dict(einstein(4.3 + 1e-9)).store()
    root, label = labelled_by(structure, orm.Dict(einstein(4.3)).store(), asked_level=asked)
    [finding] = audit(root).findings
    assert (finding.kind, finding.uuid) == ("label", label.uuid)
    assert "another level of theory than was asked for" in finding.message


def test_a_step_that_hands_on_another_label_than_its_inputs_say_is_found(aiida_profile):
    """A label under a process that was given another structure: what a defect of a reader of output would leave."""
    level = orm.Dict(einstein(4.4)).store()
    moved = rutile()
    moved.rattle(0.1, seed=1)
    right = label_local(orm.StructureData(ase=rutile()).store(), level)["label"]
    forged = make_label(right.arrays, level.get_dict())
    structure = orm.StructureData(ase=moved).store()
    root = workflow(structure=structure, level=level)
    node = finished(orm.CalcFunctionNode())
    node.process_type = "aiida.calculations:slhmc.label.local"
    for name, data in (("structure", structure), ("level", level)):
        node.base.links.add_incoming(data, LinkType.INPUT_CALC, name)
    node.base.links.add_incoming(root, LinkType.CALL_CALC, "label")
    node.store()
    forged.base.links.add_incoming(node, LinkType.CREATE, "label")
    forged.store()
    node.seal()
    root.seal()
    assert [(finding.kind, finding.uuid) for finding in audit(root).findings] == [("label", forged.uuid)]


def test_a_run_that_goes_on_is_no_fault_of_another_that_reuses_its_labels(aiida_profile):
    """The labels of a run that is still going on, or was killed, are as good as any: their own making has ended."""
    structure, level = orm.StructureData(ase=rutile()).store(), orm.Dict(einstein(4.5)).store()
    first = orm.WorkChainNode()
    first.process_type = "aiida.workflows:slhmc.label"
    first.base.attributes.set("version", {"core": "2.9.4", "plugin": "0.1.0"})
    first.set_process_state("running")
    for name, data in (("structure", structure), ("target__level", level)):
        first.base.links.add_incoming(data, LinkType.INPUT_WORK, name)
    first.store()
    node = finished(orm.CalcFunctionNode())
    node.process_type = "aiida.calculations:slhmc.label.local"
    for name, data in (("structure", structure), ("level", level)):
        node.base.links.add_incoming(data, LinkType.INPUT_CALC, name)
    node.base.links.add_incoming(first, LinkType.CALL_CALC, "attempt_0")
    node.store()
    arrays = label_local(structure, level)["label"].arrays
    label = make_label(arrays, level.get_dict())
    label.base.links.add_incoming(node, LinkType.CREATE, "label")
    label.store()
    node.seal()
    root = workflow(structure=structure, level=level)
    label.base.links.add_incoming(root, LinkType.RETURN, "label")
    root.seal()
    assert audit(root).passed, audit(root).findings
    assert kinds(first) == {"unfinished"}


@pytest.mark.slow
def test_audit_of_many_cycles_takes_seconds(aiida_profile):
    run = run_foreground(analytic_builder(budget={"chains": 1, "blocks": 2, "cycles": 40, "production_cycles": 0}))
    started = time.perf_counter()
    assert audit(run).passed
    assert time.perf_counter() - started < 20


# What a report says ---------------------------------------------------------------------------------------------------


def report_of(run, **changes):
    """Return the numbers of a report on a run, with changes to the first."""
    history, states = run.outputs.history, run.outputs.states
    first = {
        "name": "acceptance, block 1", "value": history["blocks"][0]["acceptance"], "unit": "", "node": history.uuid,
        "at": "blocks.0.acceptance",
    }  # fmt: skip
    energies = states.get_array("energies")
    return [
        ReportNumber(**{**first, **changes}),
        ReportNumber("last energy", 1000 * energies[-1], "meV", states.uuid, "array:energies.-1", 1000.0),
        ReportNumber("mean energy", float(energies.mean()), "eV", states.uuid, "array:energies|mean"),
        ReportNumber("states", len(energies), "", states.uuid, "array:energies|len"),
    ]


def test_every_number_of_a_report_is_traced(analytic_run, tmp_path):
    path, page = tmp_path / "report.json", tmp_path / "report.html"
    text = numbers_json([analytic_run], report_of(analytic_run))
    path.write_text(text)
    page.write_text(f'<html><script type="application/json" id="slhmc-numbers">{text}</script></html>')
    assert check_report(path) == check_report(page) == []


def test_what_decides_computed_numbers_is_recorded_and_held_against_this_version(analytic_run, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text(numbers_json([analytic_run], report_of(analytic_run)))
    content = json.loads(path.read_text())
    assert content["version"] == __version__
    assert content["computed_with"].items() >= {"seed": 0, "resamples": 100, "frames": 150, "rdf_range": 6.0}.items()
    monkeypatch.setattr(computed, "RESAMPLES", 50)
    [finding] = check_report(path)
    assert finding.kind == "report"
    assert "'resamples': 100" in finding.message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"value": 0.123}, "the report says 0.123"),
        ({"node": "11111111-1111-4111-8111-111111111111"}, "no part of the graph of the report's runs"),
        ({"at": "blocks.0.acceptence"}, "it has no 'blocks.0.acceptence'"),
        ({"at": "blocks.17.acceptance"}, "it has no"),
        ({"at": "array:energies"}, "it has no array 'energies'"),
        ({"at": "blocks.0"}, "holds no number"),
    ],
)
def test_a_number_that_is_not_what_its_node_says_is_found(analytic_run, tmp_path, change, says):
    path = tmp_path / "report.json"
    path.write_text(numbers_json([analytic_run], report_of(analytic_run, **change)))
    [finding] = check_report(path)
    assert finding.kind == "report"
    assert says in finding.message
    assert "'acceptance, block 1'" in finding.message


def test_what_is_no_report_is_refused(analytic_run, tmp_path):
    path = tmp_path / "report.json"
    for content, says in (("{", "holds no JSON"), ("{}", "is not of the format")):
        path.write_text(content)
        with pytest.raises(ValueError, match=says):
            check_report(path)
    (tmp_path / "page.html").write_text("<p>no numbers")
    with pytest.raises(ValueError, match="does not say which nodes"):
        check_report(tmp_path / "page.html")
    with pytest.raises(ValueError, match="cannot be read"):
        check_report(tmp_path / "nothing.json")
    path.write_text(numbers_json([workflow()], []))
    assert check_report(path) == []
    path.write_text('{"format": "aiida-slhmc-numbers/1", "runs": ["11111111-1111-4111-8111-111111111111"]}')
    assert "is not in this profile" in check_report(path)[0].message
