"""What can be resumed, what cannot, and how the remains of a crash are closed."""

import logging

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.engine.persistence import AiiDAPersister

from aiida_slhmc.engine import resume as module
from aiida_slhmc.engine.claim import claimed
from aiida_slhmc.engine.exactly_once import ABANDONED
from aiida_slhmc.engine.resume import NotResumable, resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from tests.engine import graph, toys

pytestmark = pytest.mark.usefixtures("aiida_profile")


@pytest.fixture
def paused():
    """Return the pk of a tree that stands still."""
    with pytest.raises(Paused) as caught:
        run_foreground(toys.WithStopping)
    return caught.value.pk


def test_only_workflows_that_exist():
    with pytest.raises(NotResumable, match="no node"):
        resume(10**9)
    with pytest.raises(NotResumable, match="Int"):
        resume(orm.Int(1).store().pk)


def test_what_has_ended_is_returned_as_it_is(caplog):
    node = run_foreground(toys.Child, {"start": orm.Int(1)})
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        assert resume(node.pk).pk == node.pk
    assert "already ended" in caplog.text
    assert len(graph.processes_below(node.pk)) == 2


def test_the_remains_of_a_crash_are_closed(paused):
    root = orm.load_node(paused)
    zombie = orm.CalcFunctionNode()
    zombie.base.links.add_incoming(root, LinkType.CALL_CALC, "zombie")
    zombie.set_process_state(ProcessState.RUNNING)
    half_born = orm.WorkChainNode()
    half_born.base.links.add_incoming(root, LinkType.CALL_WORK, "half_born")
    unsealed = orm.CalcFunctionNode()
    unsealed.base.links.add_incoming(root, LinkType.CALL_CALC, "unsealed")
    unsealed.set_process_state(ProcessState.FINISHED)
    unsealed.set_exit_status(0)
    for node in (zombie, half_born, unsealed):
        node.store()
    below_a_dead_one = orm.CalcFunctionNode()
    below_a_dead_one.base.links.add_incoming(half_born, LinkType.CALL_CALC, "below")
    below_a_dead_one.store()

    node = resume(paused)

    assert node.outputs.total.value == 8
    assert graph.unfinished_business(paused) == []
    for dead in (zombie, half_born, below_a_dead_one):
        assert dead.is_excepted
        assert dead.exception.startswith(ABANDONED)
    assert unsealed.is_finished_ok


def test_a_root_without_a_checkpoint_is_closed_and_said_to_be_lost(paused):
    root = orm.load_node(paused)
    root.delete_checkpoint()
    with pytest.raises(NotResumable, match="launch it again"):
        resume(paused)
    assert root.is_excepted


def test_code_that_cannot_be_imported_destroys_nothing(paused, monkeypatch):
    def load_checkpoint(self, pid, tag=None):
        raise ImportError("module 'my_plugin' could not be loaded")

    with monkeypatch.context() as patch:
        patch.setattr(AiiDAPersister, "load_checkpoint", load_checkpoint)
        with pytest.raises(NotResumable, match="my_plugin"):
            resume(paused)
    assert resume(paused).outputs.total.value == 8


def test_a_claim_ends_with_its_block_and_leaves_no_file(paused):
    root = orm.load_node(paused)
    with claimed(root):
        pass
    with claimed(root):
        pass
    from aiida_slhmc.engine.claim import _folder

    assert not list(_folder().glob(f"{root.uuid}*"))
    assert resume(paused).is_finished_ok
