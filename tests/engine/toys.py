"""Small WorkChains that do what ours do: submit children, call functions, pause, fail, and die on request."""

import os
import signal
import time

from aiida import orm
from aiida.engine import ToContext, WorkChain, append_, calcfunction, while_

from aiida_slhmc.engine.exactly_once import ExactlyOnce


def die(point: str) -> None:
    """Kill this interpreter without warning if the test asked for it at this point."""
    if os.environ.get("SLHMC_TOY_DIE") == point:
        os.kill(os.getpid(), signal.SIGKILL)


@calcfunction
def add(x: orm.Int, y: orm.Int, seconds: orm.Float) -> orm.Int:
    """Add two numbers, slowly."""
    time.sleep(seconds.value)
    die("in a calcfunction")
    return orm.Int(x.value + y.value)


@calcfunction
def divide(x: orm.Int, y: orm.Int):
    """Return several outputs, one of them nested."""
    return {"quotient": orm.Int(x.value // y.value), "rest": {"remainder": orm.Int(x.value % y.value)}}


@calcfunction
def subtract(x: orm.Int, y: orm.Int):
    """Return one output under a name."""
    return {"difference": orm.Int(x.value - y.value)}


class Child(ExactlyOnce, WorkChain):
    """One calcfunction a cycle, as a chain does."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("start", valid_type=orm.Int)
        spec.input("cycles", valid_type=orm.Int, default=lambda: orm.Int(2))
        spec.input("seconds", valid_type=orm.Float, default=lambda: orm.Float(0.0))
        spec.outline(cls.begin, while_(cls.more)(cls.cycle), cls.end)
        spec.output("total", valid_type=orm.Int)

    def begin(self):
        self.ctx.cycle = 0
        self.ctx.total = self.inputs.start

    def more(self):
        return self.ctx.cycle < self.inputs.cycles.value

    def cycle(self):
        label = f"cycle_{self.ctx.cycle:03d}"
        self.ctx.total = self.call_once(label, add, x=self.ctx.total, y=self.inputs.start, seconds=self.inputs.seconds)
        die("after a calcfunction")
        self.ctx.cycle += 1

    def end(self):
        self.out("total", self.ctx.total)


class Parent(ExactlyOnce, WorkChain):
    """Blocks of children side by side, as the loop over blocks of chains does."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("start", valid_type=orm.Int, default=lambda: orm.Int(1))
        spec.input("blocks", valid_type=orm.Int, default=lambda: orm.Int(2))
        spec.input("children", valid_type=orm.Int, default=lambda: orm.Int(2))
        spec.input("cycles", valid_type=orm.Int, default=lambda: orm.Int(2))
        spec.input("seconds", valid_type=orm.Float, default=lambda: orm.Float(0.0))
        spec.outline(cls.begin, while_(cls.more)(cls.block, cls.collect), cls.end)
        spec.output("total", valid_type=orm.Int)

    def begin(self):
        self.ctx.block = 0
        self.ctx.total = self.inputs.start

    def more(self):
        return self.ctx.block < self.inputs.blocks.value

    def block(self):
        self.ctx.done = []
        for index in range(self.inputs.children.value):
            node = self.submit_once(
                f"block_{self.ctx.block:03d}_child_{index}",
                Child,
                start=self.ctx.total,
                cycles=self.inputs.cycles,
                seconds=self.inputs.seconds,
            )
            die("after a submission")
            self.to_context(done=append_(node))

    def collect(self):
        for index, child in enumerate(self.ctx.done):
            label = f"collect_{self.ctx.block:03d}_{index}"
            self.ctx.total = self.call_once(label, add, x=self.ctx.total, y=child.outputs.total, seconds=orm.Float(0.0))
        self.ctx.block += 1

    def end(self):
        self.out("total", self.ctx.total)


def total_of_parent(start=1, blocks=2, children=2, cycles=2):
    """Return what ``Parent`` computes."""
    for _ in range(blocks):
        start += children * start * (cycles + 1)
    return start


def labels_of_parent(blocks=2, children=2, cycles=2):
    """Return the call link labels below ``Parent`` with the number of times that each must occur."""
    labels = {f"cycle_{cycle:03d}": blocks * children for cycle in range(cycles)}
    for block in range(blocks):
        labels |= {f"block_{block:03d}_child_{index}": 1 for index in range(children)}
        labels |= {f"collect_{block:03d}_{index}": 1 for index in range(children)}
    return labels


class Stopping(WorkChain):
    """Pause once, as a chain does whose label failed."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("start", valid_type=orm.Int)
        spec.outline(cls.stop, cls.end)
        spec.output("total", valid_type=orm.Int)

    def stop(self):
        self.pause("the label failed")

    def end(self):
        self.out("total", self.inputs.start)


class Failing(WorkChain):
    """Raise."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("start", valid_type=orm.Int)
        spec.outline(cls.fail_now)
        spec.output("total", valid_type=orm.Int)

    def fail_now(self):
        raise ArithmeticError("a toy that breaks")


class Mixed(WorkChain):
    """Have one child that counts and one of another kind, and add up what they return."""

    other: type[WorkChain]

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.outline(cls.both, cls.end)
        spec.output("total", valid_type=orm.Int)

    def both(self):
        return ToContext(child=self.submit(Child, start=orm.Int(1)), other=self.submit(self.other, start=orm.Int(5)))

    def end(self):
        if self.ctx.other.is_finished_ok:
            nothing = orm.Float(0.0)
            self.out("total", add(x=self.ctx.child.outputs.total, y=self.ctx.other.outputs.total, seconds=nothing))
        else:
            self.out("total", self.ctx.child.outputs.total)


class WithStopping(Mixed):
    """One child pauses."""

    other = Stopping


class WithFailing(Mixed):
    """One child raises."""

    other = Failing


class Waiting(WorkChain):
    """Wait for a process that another program runs."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("pk", valid_type=orm.Int)
        spec.outline(cls.wait_for_it, cls.end)
        spec.output("total", valid_type=orm.Int)

    def wait_for_it(self):
        return ToContext(it=orm.load_node(self.inputs.pk.value))

    def end(self):
        self.out("total", orm.Int(self.ctx.it.exit_status).store())


class Jobs(ExactlyOnce, WorkChain):
    """Run jobs of AiiDA's arithmetic plugin side by side on this machine."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("code", valid_type=orm.AbstractCode)
        spec.input("jobs", valid_type=orm.Int)
        spec.input("seconds", valid_type=orm.Int)
        spec.outline(cls.launch_all, cls.end)
        spec.output("total", valid_type=orm.Int)

    def launch_all(self):
        for index in range(self.inputs.jobs.value):
            builder = self.inputs.code.get_builder()
            builder.x, builder.y = orm.Int(index), orm.Int(1)
            builder.metadata.options.sleep = self.inputs.seconds.value
            self.to_context(done=append_(self.submit_once(f"job_{index}", builder)))

    def end(self):
        if not all(job.is_finished_ok for job in self.ctx.done):
            return self.exit_codes.ERROR_UNSPECIFIED
        self.out("total", orm.Int(sum(job.outputs.sum.value for job in self.ctx.done)).store())
