"""Production: go on from a finished run with everything frozen, for an exact sample of the target's ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import WorkChain

from aiida_slhmc.calculations.states import chain_states
from aiida_slhmc.calculations.streams import chain_name
from aiida_slhmc.data import FramesData, MaceModelData

from .blocks import ENDS, Blocks
from .validate import validate_codes, validate_trust


def validate_ends(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs of a production run as a whole.

    :param value: inputs.
    """
    if any(name not in value for name in ("ends", "budget", "executor", "target", "proposal", "ensemble")):
        # The ports themselves say what is missing.
        return None
    budget = value["budget"].get_dict()
    if budget["blocks"] != 0 or budget["production_cycles"] < 1:
        return "budget: a production run has no adaptive blocks and at least one of production_cycles."
    for index in range(budget["chains"]):
        for what in ENDS:
            if f"{what}_{chain_name(index)}" not in value["ends"]:
                return f"ends.{what}_{chain_name(index)} is missing: take 'ends' from a finished run."
    if value["ensemble"].get_dict()["ensemble"] == "NPT" and value["proposal"].get_dict()["cell_mass"] is None:
        return "proposal.cell_mass is missing: take 'proposal' from a finished run, whose cell has its mass."
    return validate_trust(value) or validate_codes(value)


class ProductionWorkChain(Blocks, WorkChain):
    """Sample the target's ensemble with a frozen kernel, from where a finished run stands.

    Model, length law, time step and cell mass are those of the run at its end, and do not change; the random streams go
    on, so that a production run that continues another is one chain with it. Its labels are stored and train nothing.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Proposal model; or a level of theory.")
        spec.input_namespace(
            "ends", dynamic=True, valid_type=(orm.StructureData, FramesData, orm.Dict),
            help="state_<chain>, label_<chain>, stream_<chain> of a finished run.",
        )  # fmt: skip
        cls.define_blocks(spec)
        spec.inputs.validator = validate_ends
        spec.outline(
            cls.start,
            cls.run_chains,
            cls.inspect_chains,
            cls.predict,
            cls.predict_foundation,
            cls.judge,
            cls.result,
        )
        spec.output("model", valid_type=(MaceModelData, orm.Dict), help="The model that proposed.")

    @classmethod
    def get_builder_from_run(
        cls, run: orm.WorkChainNode, *, cycles: int, overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Any:
        """Return a builder that goes on from a finished run.

        :param run: a finished run: self-learning or production.
        :param cycles: of each chain.
        :param overrides: of the groups ``driver``, ``failure``, ``labelling``, ``executor``; the kernel stays as it is.
        :raises ValueError: if the run did not finish, or its outputs do not say where its chains stand.
        """
        if not run.is_finished_ok:
            raise ValueError(f"run <{run.pk}> has not finished: a production run needs the end of a run.")
        if "ends" not in run.outputs:
            raise ValueError(f"process <{run.pk}> ({run.process_label}) does not say where its chains stand.")
        if cycles < 1:
            raise ValueError(f"a production run has at least 1 cycle, not {cycles}.")
        builder: Any = cls.get_builder()
        builder.model = run.outputs.model
        builder.ends = {label: run.outputs.ends[label] for label in run.outputs.ends}
        builder.proposal = run.outputs.proposal
        builder.ensemble = run.inputs.ensemble
        builder.target.level = run.inputs.target.level
        for name in ("target", "worker"):
            if name in run.inputs and "code" in run.inputs[name]:
                builder[name].code = run.inputs[name].code
        budget = run.inputs.budget.get_dict()
        builder.budget = orm.Dict({**budget, "blocks": 0, "production_cycles": cycles})
        changes = dict(overrides or {})
        for group in ("driver", "failure", "labelling", "executor"):
            values = run.inputs[group].get_dict()
            unknown = sorted(set(changes.get(group, {})) - set(values))
            if unknown:
                raise ValueError(f"there is no setting '{unknown[0]}' of '{group}'; known are: {', '.join(values)}.")
            builder[group] = orm.Dict({**values, **changes.pop(group)}) if group in changes else run.inputs[group]
        if changes:
            raise ValueError(
                f"'{next(iter(changes))}' cannot be changed for production: driver, failure, labelling, executor can."
            )
        return builder

    @property
    def production(self) -> bool:
        """Return that this is production."""
        return True

    @property
    def foundation(self) -> orm.Data:
        """Return the model that proposes: there is no other."""
        return self.inputs.model

    def start(self) -> None:
        """Take up the chains where the run left them."""
        self.ctx.block = 0
        self.ctx.model = self.inputs.model
        self.ctx.proposal = self.inputs.proposal
        self.ctx.history = None
        for name in self.chain_names:
            for what in ENDS:
                self.ctx[f"{what}_{name}"] = self.inputs.ends[f"{what}_{name}"]

    def result(self) -> None:
        """Attach the outputs."""
        self.record()
        self.out("model", self.ctx.model)
        self.hand_on()
        self.out("production", self.ctx.chunk)
        states = self.call_once_node(
            "chain_states", chain_states,
            chunk=self.ctx.chunk, ensemble=self.inputs.ensemble, proposal=self.ctx.proposal, model=self.ctx.model,
        )  # fmt: skip
        self.out("states", states.outputs.result)
