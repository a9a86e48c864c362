"""Steps run again: as stored, changed, or not to be run at all."""

import io

import numpy as np
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.calculations.collect import merge
from aiida_slhmc.calculations.predict import predict_local
from aiida_slhmc.calculations.streams import advance
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.provenance.again import ENGINE, FAILED, UNTRUSTED, function_of, replay_step
from aiida_slhmc.provenance.comparing import DIFFERS, IDENTICAL
from tests.data.test_trust import foreign, frames
from tests.fixtures import rutile
from tests.provenance.planted import planted
from tests.provenance.test_audit import finished


def test_a_training_is_repeated_and_a_forged_model_is_found(trained_run):
    training = trained_run.outputs.model.creator
    report = replay_step(training)
    assert report.verdict == IDENTICAL, report.differences
    assert set(report.then) >= {"torch", "mace", "aiida-core"}
    with planted(trained_run.outputs.model, description={**trained_run.outputs.model.description,
                                                         "state_sha256": "0" * 64}):  # fmt: skip
        forged = replay_step(orm.load_node(training.pk))
    assert forged.verdict == DIFFERS
    assert "state_sha256 of the stored file" in str(forged.differences[0])


def test_a_step_that_makes_something_else_now_differs(aiida_profile):
    _, process = advance.run_get_node(orm.Dict({"seed": 1, "chain": 0, "cycle": 4}))
    with planted(process.outputs.result, cycle=6):
        report = replay_step(orm.load_node(process.pk))
    assert report.verdict == DIFFERS
    assert str(report.differences[0]) == "result.cycle: 6 then, 5 now (by 1)"
    assert replay_step(orm.load_node(process.pk)).verdict == IDENTICAL


def test_an_array_that_was_changed_differs(aiida_profile):
    one, other = frames().store(), frames()
    _, process = merge.run_get_node(piece_0=one)
    arrays = other.arrays
    arrays["energies"] = np.array([1.0])
    forged = FramesData(arrays).store()
    stored = process.outputs.result.backend_entity._model
    before = stored.repository_metadata
    stored.repository_metadata = forged.base.repository.serialize()
    stored.save()
    try:
        report = replay_step(orm.load_node(process.pk))
    finally:
        stored.repository_metadata = before
        stored.save()
    assert report.verdict == DIFFERS
    assert str(report.differences[0]) == "result.energies[0]: 1.0 then, 0.0 now (by 1)"


def calculation(process_type, status=0, **inputs):
    node = finished(orm.CalcFunctionNode())
    node.set_exit_status(status)
    node.process_type = process_type
    for name, data in inputs.items():
        node.base.links.add_incoming(data, LinkType.INPUT_CALC, name)
    node.store().seal()
    return node


def test_what_is_not_run_is_no_difference(aiida_profile):
    """Of another plugin; with a model that nobody trusts; what a time limit or a machine ended."""
    structure = orm.StructureData(ase=rutile()).store()
    hostile = foreign(b"a model of somebody else").store()
    code = {"engine": "ase", "functional": "ase", "parameters": {"calculator": "os:system", "arguments": {}}}
    for node, expected in (
        (calculation("aiida.calculations:vasp.vasp"), ENGINE),
        (calculation("aiida.calculations:slhmc.of_the_future"), ENGINE),
        (calculation("aiida.calculations:slhmc.predict", model=hostile, frames=frames().store()), UNTRUSTED),
        (calculation("aiida.calculations:slhmc.label", structure=structure, level=orm.Dict(code).store()), UNTRUSTED),
        (calculation("aiida.calculations:slhmc.label", 330, structure=structure), FAILED),
    ):
        report = replay_step(node)
        assert report.verdict == expected, report
        assert report.reason


def test_a_failure_is_repeated_as_a_failure(aiida_profile):
    known = MaceModelData(io.BytesIO(b"no model at all"), description={"state_sha256": "2" * 64})
    _, process = predict_local.run_get_node(model=known, frames=frames())
    assert process.exit_status == 210
    assert replay_step(process).verdict == IDENTICAL


def test_a_job_is_run_by_the_function_of_the_same_contract():
    assert function_of("propose").__name__ == "propose_local"
    assert function_of("metropolis").__name__ == "metropolis"
    assert function_of("nothing") is None
