"""The program that the tests of kills start in a process of its own; every answer is one line of JSON.

Usage: python -m tests.engine.driver FOLDER run '{"seconds": 0.5}' | resume PK | look PK | hold PK
"""

import json
import os
import sys
import time
from pathlib import Path


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def arm(toys):
    """Put the kills that a WorkChain cannot place itself where the environment asks for them."""
    from aiida.engine.persistence import AiiDAPersister
    from aiida.engine.processes.functions import FunctionProcess

    save, terminated = AiiDAPersister.save_checkpoint, FunctionProcess.on_terminated

    def save_checkpoint(self, process, tag=None):
        if isinstance(process, toys.Child) and process.node.checkpoint is None:
            toys.die("before a checkpoint")
        return save(self, process, tag)

    def on_terminated(self):
        toys.die("before a seal")
        terminated(self)

    AiiDAPersister.save_checkpoint, FunctionProcess.on_terminated = save_checkpoint, on_terminated


def look(pk):
    from aiida import orm

    from tests.engine import graph

    node = orm.load_node(pk)
    say(
        state=node.process_state.value,
        total=node.outputs.total.value if node.is_finished_ok else None,
        finished=graph.finished_labels(pk),
        abandoned=graph.abandoned(pk),
        unfinished=[str(node) for node in graph.unfinished_business(pk)],
    )


def main(folder, command, argument):
    from aiida_slhmc.engine.profile import isolated_profile

    isolated_profile(Path(folder))

    from aiida import orm

    from aiida_slhmc.engine import Interrupted, Paused, StillRunning, run_foreground
    from aiida_slhmc.engine.resume import resume
    from tests.engine import toys

    if os.environ.get("SLHMC_TOY_DIE"):
        arm(toys)
    pks = []

    def on_tick(node):
        if not pks:
            pks.append(node.pk)
            say(pk=node.pk)

    try:
        if command == "look":
            return look(int(argument))
        if command == "hold":
            from aiida_slhmc.engine.claim import claimed

            with claimed(orm.load_node(int(argument))):
                say(held=True)
                time.sleep(60)
        if command == "run":
            kinds = {int: orm.Int, float: orm.Float}
            inputs = {key: kinds[type(value)](value) for key, value in json.loads(argument).items()}
            node = run_foreground(toys.Parent, inputs, on_tick=on_tick, tick=0.1)
        else:
            node = resume(int(argument), on_tick=on_tick)
    except Interrupted as stop:
        say(end="interrupted", hard=stop.hard)
    except Paused as stop:
        say(end="paused", messages=list(stop.messages.values()))
    except StillRunning as stop:
        say(end="still running", owner=stop.owner)
    else:
        say(end="done")
        look(node.pk)


if __name__ == "__main__":
    main(*sys.argv[1:])
