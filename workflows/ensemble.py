"""Compare the ensembles of the foundation model, the adapted model and the target."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import WorkChain

from aiida_slhmc.calculations.dynamics import DynamicsCalculation, dynamics_local
from aiida_slhmc.calculations.ensemble import compare_ensembles
from aiida_slhmc.calculations.states import PRODUCTION
from aiida_slhmc.data import MaceModelData

from .steps import Steps, dispatch, failed, settings_port, target_ports, worker_ports


def validate_states(states: orm.ArrayData | None, _: Any) -> str | None:
    """Validate that states are a sample of the target's ensemble.

    :param states: chains of a run.
    """
    if states is None or states.base.attributes.get("kind", None) == PRODUCTION:
        return None
    return (
        "states: these are not of a production phase, so that they are no sample of the target's ensemble: end the run"
        " with budget.production_cycles, or go on from it with 'aiida-slhmc produce'."
    )


class EnsembleWorkChain(Steps, WorkChain):
    """Sample each surface by exact HMC on itself and compare the samples with the target's.

    The reference samples the target's own surface, so it needs an engine that is cheap enough for that: a teacher.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Start of every sample (Å).")
        spec.input("foundation", valid_type=MaceModelData, help="The model before fine-tuning.")
        spec.input("adapted", valid_type=MaceModelData, help="The model after it.")
        target_ports(spec)
        worker_ports(spec)
        for group in ("ensemble", "dynamics", "executor"):
            settings_port(spec, group)
        spec.input("comparison", valid_type=orm.Dict, help="pair: element symbols of the distances to compare.")
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        spec.input(
            "states", valid_type=orm.ArrayData, required=False, validator=validate_states,
            help="Chains of a production phase.",
        )  # fmt: skip
        spec.outline(cls.sample_foundation, cls.sample_adapted, cls.sample_reference, cls.inspect, cls.compare)
        spec.output("comparison", valid_type=orm.Dict, help="Pressure (GPa), distances (Å), W1 (Å), with errors.")
        spec.output_namespace("samples", dynamic=True, valid_type=orm.ArrayData, help="The samples.")
        spec.exit_code(460, "ERROR_SAMPLING_FAILED", message="sampling the surface of '{name}' failed: {message}")

    def _sample(self, name: str, model: orm.Data, worker: Any) -> Any:
        inputs = {
            "model": model,
            "structure": self.inputs.structure,
            "ensemble": self.inputs.ensemble,
            "settings": self.inputs.dynamics,
            "seed": self.inputs.seed,
        }
        return dispatch(
            self, name, f"sample_{name}", "dynamics", DynamicsCalculation, dynamics_local, inputs,
            code=worker.get("code"), options=worker.get("options"),
        )  # fmt: skip

    def sample_foundation(self) -> Any:
        """Sample the foundation model."""
        return self._sample("foundation", self.inputs.foundation, self.inputs.get("worker", {}))

    def sample_adapted(self) -> Any:
        """Sample the adapted model."""
        return self._sample("adapted", self.inputs.adapted, self.inputs.get("worker", {}))

    def sample_reference(self) -> Any:
        """Sample the target itself."""
        return self._sample("reference", self.inputs.target.level, self.inputs.target)

    def inspect(self) -> Any:
        """Look at the samples."""
        for name in ("foundation", "adapted", "reference"):
            problem = failed(self.ctx[name])
            if problem:
                return self.exit_codes.ERROR_SAMPLING_FAILED.format(name=name, message=problem)
            self.out(f"samples.{name}", self.ctx[name].outputs.trajectory)
        return None

    def compare(self) -> None:
        """Compare the samples."""
        samples = {name: self.ctx[name].outputs.trajectory for name in ("foundation", "adapted", "reference")}
        if "states" in self.inputs:
            samples["slhmc"] = self.inputs.states
        node = self.call_once_node(
            "compare", compare_ensembles, ensemble=self.inputs.ensemble, settings=self.inputs.comparison, **samples
        )
        self.out("comparison", node.outputs.result)
