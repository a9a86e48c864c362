"""Small WorkChains that do what ours do: submit children, call functions, pause, fail."""

import time

from aiida import orm
from aiida.engine import WorkChain, append_, calcfunction, while_

from aiida_slhmc.engine.exactly_once import ExactlyOnce


@calcfunction
def add(x: orm.Int, y: orm.Int, seconds: orm.Float) -> orm.Int:
    """Add two numbers, slowly."""
    time.sleep(seconds.value)
    return orm.Int(x.value + y.value)


@calcfunction
def divmod_(x: orm.Int, y: orm.Int) -> dict:
    """Return two outputs, one of them nested."""
    return {"quotient": orm.Int(x.value // y.value), "rest": {"remainder": orm.Int(x.value % y.value)}}


class Child(ExactlyOnce, WorkChain):
    """Count: one calcfunction a cycle, as a chain does."""

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
        one = self.inputs.start
        self.ctx.total = self.call_once(label, add, x=self.ctx.total, y=one, seconds=self.inputs.seconds)
        self.ctx.cycle += 1

    def end(self):
        self.out("total", self.ctx.total)


class Parent(ExactlyOnce, WorkChain):
    """Blocks of children side by side, as the SLHMC loop does."""

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
            self.to_context(done=append_(node))

    def collect(self):
        for index, child in enumerate(self.ctx.done):
            label = f"collect_{self.ctx.block:03d}_{index}"
            self.ctx.total = self.call_once(
                label, add, x=self.ctx.total, y=child.outputs.total, seconds=orm.Float(0.0)
            )
        self.ctx.block += 1

    def end(self):
        self.out("total", self.ctx.total)
