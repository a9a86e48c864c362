"""The program that the tests of kills start in a process of its own; every answer is one line of JSON.

Usage: python -m tests.engine.driver FOLDER run '{"seconds": 0.5}' | resume PK | look PK
       python -m tests.engine.driver FOLDER torture '{"inputs": {...}, "points": [...]}'
"""

import json
import os
import sys
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
        if command == "run":
            kinds = {int: orm.Int, float: orm.Float}
            inputs = {key: kinds[type(value)](value) for key, value in json.loads(argument).items()}
            node = run_foreground(toys.Parent, inputs, on_tick=on_tick, tick=0.1)
        else:
            node = resume(int(argument), on_tick=on_tick)
    except Interrupted as stop:
        say(end="interrupted", hard=stop.hard)
        look(stop.pk)
    except Paused as stop:
        say(end="paused", messages=list(stop.messages.values()))
    except StillRunning as stop:
        say(end="still running", owner=stop.owner)
    else:
        say(end="done")
        look(node.pk)


def torture(folder, argument):
    """Run, and at each point be killed and start again, each time in a process of its own."""
    os.environ["AIIDA_PATH"] = folder
    # Imported here once, so that every process need not do it: no database is open yet.
    import aiida_slhmc.engine.resume  # noqa: F401
    import tests.engine.toys  # noqa: F401

    plan = json.loads(argument)
    command, argument = "run", json.dumps(plan["inputs"])
    for point in [*plan["points"], ""]:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(sender, 1)
            os.environ["SLHMC_TOY_DIE"] = point
            main(folder, command, argument)
            sys.stdout.flush()
            os._exit(0)
        os.close(sender)
        with os.fdopen(receiver) as stream:
            answers = [json.loads(line) for line in stream]
        _, status = os.waitpid(child, 0)
        say(point=point, signal=os.WTERMSIG(status), answers=answers)
        command, argument = "resume", str(answers[0]["pk"])


if __name__ == "__main__":
    if sys.argv[2] == "torture":
        torture(sys.argv[1], sys.argv[3])
    else:
        main(*sys.argv[1:])
