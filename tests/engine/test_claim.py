"""One runner per tree."""

import fcntl
import multiprocessing
import os
import signal
import time

import pytest
from aiida import orm

from aiida_slhmc.engine import claim


@pytest.fixture
def root(aiida_profile):
    return orm.WorkChainNode().store()


def test_a_second_claim_names_the_first(root):
    with claim.claimed(root):
        with pytest.raises(claim.StillRunning, match=f"process {os.getpid()} on ") as caught, claim.claimed(root):
            pass
        assert caught.value.pk == root.pk
    with claim.claimed(root):
        pass


def _hold(path, ready):
    fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
    ready.set()
    time.sleep(60)


def test_a_claim_dies_with_its_holder_however_it_dies(root):
    path = claim._folder() / f"{root.uuid}.lock"
    path.touch()
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(path, ready))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(claim.StillRunning), claim.claimed(root):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(20)
    with claim.claimed(root):
        pass
    assert not path.exists()


def test_claims_of_two_runs_do_not_meet(root, aiida_profile):
    other = orm.WorkChainNode().store()
    with claim.claimed(root), claim.claimed(other):
        pass
