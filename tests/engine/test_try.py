import time, sys, logging
from aiida.manage.configuration import load_profile
from tests.engine.toys import *
from aiida_slhmc.engine import run_foreground
def test_it(aiida_profile):
    t=time.time()
    seen=[]
    node = run_foreground(Parent, on_tick=lambda n: seen.append((round(time.time()-t,2), n.process_state)))
    print(node.process_state, node.exit_status, node.outputs.total, time.time()-t, seen)
    assert node.is_finished_ok
