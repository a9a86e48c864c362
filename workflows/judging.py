"""What every protocol does with new labels: judge the models on them before one of them learns from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from aiida import orm
from aiida.engine import ToContext

from aiida_slhmc.calculations.predict import PredictCalculation, predict_local
from aiida_slhmc.calculations.prequential import prequential
from aiida_slhmc.data import MaceModelData

from .steps import Steps, dispatch, failed


class Judging(Steps, ABC):
    """Give a WorkChain the judgement of its models on labels that they have not seen.

    The context holds ``block``, ``model``, ``chunk`` and ``errors``.
    """

    @classmethod
    def define_judging(cls, spec: Any) -> None:
        """Declare what judging leaves.

        :param spec: process specification.
        """
        spec.exit_code(453, "ERROR_PREDICTION_FAILED", message="the prediction on block {block} failed: {message}")

    @property
    @abstractmethod
    def foundation(self) -> orm.Data:
        """Return the model that the current one is compared with."""

    def _label(self, step: str) -> str:
        return f"block_{self.ctx.block:03d}_{step}"  # type: ignore[attr-defined]

    def can_judge(self: Any) -> bool:
        """Return whether there is a model to judge, and something to judge it on."""
        return isinstance(self.ctx.model, MaceModelData) and self.ctx.chunk.n_frames > 1

    def _predict(self: Any, key: str, model: orm.Data) -> ToContext | None:
        worker = self.inputs.get("worker", {})
        return dispatch(
            self, key, self._label(key), "predict", PredictCalculation, predict_local,
            {"model": model, "frames": self.ctx.chunk}, code=worker.get("code"), options=worker.get("options"),
        )  # fmt: skip

    def predict(self: Any) -> ToContext | None:
        """Let the model that proposed predict the block's labels, before it learns from them."""
        self.ctx.predict = self.ctx.predict_foundation = None
        return self._predict("predict", self.ctx.model) if self.can_judge() else None

    def predict_foundation(self: Any) -> ToContext | None:
        """Let the foundation model predict the same labels, to compare."""
        if not self.can_judge() or self.ctx.model.uuid == self.foundation.uuid:
            return None
        return self._predict("predict_foundation", self.foundation)

    def judge(self: Any) -> Any:
        """Turn predictions into prequential errors."""
        self.ctx.errors = {}
        for key, name in (("predict", "errors"), ("predict_foundation", "foundation_errors")):
            node = self.ctx[key]
            if node is None:
                continue
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_PREDICTION_FAILED.format(block=self.ctx.block, message=problem)
            inputs = {"frames": self.ctx.chunk, "predictions": node.outputs.predictions}
            self.ctx.errors[name] = self.call_once_node(self._label(name), prequential, **inputs).outputs.result
        return None
