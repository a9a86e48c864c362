"""Adopted children and calls: the same shape as fresh ones, and never those of another question."""

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import Process, ProcessState
from plumpy.processes import PROCESS_STACK

from aiida_slhmc.engine.exactly_once import ABANDONED, LabelReused
from aiida_slhmc.engine.runner import LocalRunner
from tests.engine import toys

pytestmark = pytest.mark.usefixtures("aiida_profile")


@pytest.fixture
def parent():
    """Return a WorkChain in the middle of a step that does not advance."""
    runner = LocalRunner()
    process = toys.Parent(inputs={}, runner=runner)
    stack = PROCESS_STACK.set([process])
    yield process
    PROCESS_STACK.reset(stack)
    runner._shut_down()


def calls(process):
    return len(process.node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all())


@pytest.mark.parametrize("function", [toys.subtract, toys.divide])
def test_a_repeated_call_returns_what_the_first_returned(parent, function):
    x, y = orm.Int(17), orm.Int(5)
    fresh = parent.call_once("once", function, x=x, y=y)
    again = parent.call_once("once", function, x=x, y=y)
    assert calls(parent) == 1
    assert isinstance(fresh, dict)
    assert again == fresh
    assert _uuids(again) == _uuids(fresh)


def test_a_single_output_comes_back_as_a_node(parent):
    inputs = {"x": orm.Int(1), "y": orm.Int(2), "seconds": orm.Float(0.0)}
    fresh = parent.call_once("sum", toys.add, **inputs)
    again = parent.call_once("sum", toys.add, **inputs)
    assert isinstance(fresh, orm.Int)
    assert again.uuid == fresh.uuid
    assert fresh.creator.base.links.get_incoming(link_type=LinkType.CALL_CALC).one().link_label == "sum"


def _uuids(outputs):
    if isinstance(outputs, dict):
        return {key: _uuids(value) for key, value in outputs.items()}
    return outputs.uuid


def test_inputs_built_anew_by_a_replayed_step_are_the_same_inputs(parent):
    third = 1 / 3  # has more digits than the database keeps
    first = parent.call_once("sum", toys.add, x=orm.Int(3), y=orm.Int(1), seconds=orm.Float(third / 1e6))
    again = parent.call_once("sum", toys.add, x=orm.Int(3), y=orm.Int(1), seconds=orm.Float(third / 1e6))
    assert again.uuid == first.uuid


def test_a_label_used_for_another_question_raises(parent):
    parent.call_once("d", toys.subtract, x=orm.Int(3), y=orm.Int(1))
    with pytest.raises(LabelReused, match="another 'x'"):
        parent.call_once("d", toys.subtract, x=orm.Int(4), y=orm.Int(1))
    with pytest.raises(LabelReused, match="subtract"):
        parent.call_once("d", toys.divide, x=orm.Int(3), y=orm.Int(1))
    parent.submit_once("child", toys.Child, start=orm.Int(1))
    with pytest.raises(LabelReused, match="another 'start'"):
        parent.submit_once("child", toys.Child, start=orm.Int(2))
    with pytest.raises(LabelReused, match="Child"):
        parent.submit_once("child", toys.Stopping, start=orm.Int(1))


def test_an_underscore_in_a_label_is_no_wildcard(parent):
    parent.call_once("cycle11", toys.subtract, x=orm.Int(3), y=orm.Int(1))
    parent.call_once("cycle_1", toys.subtract, x=orm.Int(4), y=orm.Int(1))
    assert calls(parent) == 2


def test_a_submitted_child_is_adopted_whatever_became_of_it(parent):
    first = parent.submit_once("child", toys.Child, start=orm.Int(1))
    assert parent.submit_once("child", toys.Child, start=orm.Int(1)).pk == first.pk
    builder = toys.Child.get_builder()
    builder.start = orm.Int(1)
    assert parent.submit_once("child", builder).pk == first.pk
    first.set_exit_status(400)
    first.set_process_state(ProcessState.FINISHED)
    assert parent.submit_once("child", toys.Child, start=orm.Int(1)).pk == first.pk
    assert calls(parent) == 1
    with pytest.raises(ValueError, match="builder"):
        parent.submit_once("child", builder, start=orm.Int(1))


def test_the_remains_of_a_crash_are_not_adopted(parent):
    half_born = parent.submit_once("child", toys.Child, start=orm.Int(1))
    half_born.delete_checkpoint()
    second = parent.submit_once("child", toys.Child, start=orm.Int(1))
    assert second.pk != half_born.pk
    second.set_exception(f"{ABANDONED} killed")
    second.set_process_state(ProcessState.EXCEPTED)
    third = parent.submit_once("child", toys.Child, start=orm.Int(1))
    assert third.pk not in {half_born.pk, second.pk}


def test_a_failed_call_is_made_again(parent):
    with pytest.raises(ZeroDivisionError):
        parent.call_once("d", toys.divide, x=orm.Int(3), y=orm.Int(0))
    with pytest.raises(ZeroDivisionError):
        parent.call_once("d", toys.divide, x=orm.Int(3), y=orm.Int(0))
    assert calls(parent) == 2


def test_the_fixture_is_the_caller(parent):
    assert Process.current() is parent
