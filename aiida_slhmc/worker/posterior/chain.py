"""One Markov chain over the weights of a MACE model and its force head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mace.data import AtomicData
from mace.tools import torch_geometric
from numpy.typing import NDArray

from aiida_slhmc.numerics import priority, schedules

from ..errors import TaskError
from ..graphs import unprofiled
from .likelihood import ForceHead, log_likelihood, log_prior
from .settings import PosteriorSettings
from .sghmc import SGHMC


@dataclass(frozen=True)
class Trace:
    """Hold what a chain went through in one update.

    :param log_posterior: (steps,) estimates from the batches, but for a constant: n times the mean log likelihood plus
        the log prior, before each step.
    :param frozen_at: step from which on the mass was fixed.
    """

    log_posterior: NDArray[np.float64]
    frozen_at: int


class Chain:
    """Sample the weights of one member, starting where they are.

    :param model: the member's model, changed in place.
    :param head: its force head, changed in place.
    :param centres: prior means of the model's parameters, in order; those of the head are 0.
    :param accuracy: K in eV per structure, which scales the standard deviation of the energies.
    :param settings: the hyperparameters.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        head: ForceHead,
        centres: Sequence[torch.Tensor],
        accuracy: float,
        settings: PosteriorSettings,
    ):
        self.model, self.head, self.settings = model, head, settings
        self.parameters = [*model.parameters(), *head.parameters()]
        self.centres = [*centres, *(torch.zeros_like(parameter) for parameter in head.parameters())]
        self.energy_sigma = settings.energy_share * accuracy

    def log_likelihood(self, batch: Any) -> torch.Tensor:
        """Return the log likelihood of each structure, differentiable in the weights.

        :param batch: of MACE's graphs with labels.
        :returns: (G,).
        """
        data = batch.to_dict()
        # MACE asks for the gradient of the positions it is given: the dataset's own must stay as they are.
        data["positions"] = data["positions"].detach().clone()
        stress = bool((batch.stress_weight > 0).any())
        # training=True keeps the graph of the forces: their errors are differentiated once more, in the weights.
        answer = self.model(data, training=True, compute_force=True, compute_stress=stress)
        return log_likelihood(
            answer,
            batch,
            energy_sigma=self.energy_sigma,
            force_sigma=self.head(answer["node_feats"]),
            stress_sigma=self.settings.stress_sigma,
        )

    def backward(self, batch: Any, weights: torch.Tensor, n: int) -> float:
        """Set the gradients of U = -(ln prior + sum of ln likelihoods)/n, estimated from a batch.

        :param batch: of the distinct structures drawn.
        :param weights: (G,), such that the weighted sum estimates the mean over all data.
        :param n: number of data.
        :returns: the estimate of the log posterior, but for a constant.
        """
        for parameter in self.parameters:
            parameter.grad = None
        mean = (weights * self.log_likelihood(batch)).sum()
        mean.neg().backward()
        precision = 1.0 / (n * self.settings.prior_sd**2)
        with torch.no_grad():
            for parameter, centre in zip(self.parameters, self.centres, strict=True):
                if parameter.grad is None:
                    # The labels say nothing of this weight; its prior does.
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.add_(parameter - centre, alpha=precision)
        return n * float(mean.detach()) + log_prior(self.parameters, self.centres, self.settings.prior_sd)

    def run(self, data: Sequence[AtomicData], newest: int, rng: np.random.Generator) -> Trace:
        """Run one update: a cosine cycle of step sizes, the noise off at first, the mass frozen for its last part.

        Momenta and mass start anew; the member is where the cycle ends.

        :param data: graphs with labels, the newest last.
        :param newest: how many are new; they set the number of steps and are drawn about once per batch.
        :param rng: of the batches and of the noise.
        :raises TaskError: ``diverged`` if the weights ran away.
        """
        settings, n = self.settings, len(data)
        steps = settings.steps_per_label * newest
        off, rise = round(settings.noise_off * steps), round(settings.noise_ramp * steps)
        # At least one step sees a gradient before the mass is fixed.
        frozen_at = max(1, round(settings.freeze * steps))
        for parameter in self.parameters:
            parameter.requires_grad = True
        sampler = SGHMC(
            self.parameters,
            lr=settings.step_size,
            data=n,
            generator=torch.Generator().manual_seed(int(rng.integers(2**63))),
            friction=settings.friction,
            decay=settings.decay,
            # Thermal gradients of a weight that only its prior holds are 1/(n sTL): none is moved by larger steps than
            # such a weight. Otherwise the first noise throws weights whose gradient was 0 so far (those of the head)
            # far off, and the largest gradient, remembered, then nearly stops them.
            eps=max(settings.eps, 1.0 / (n * settings.prior_sd)),
            temperature=settings.temperature,
        )
        group = sampler.param_groups[0]
        trace = np.full(steps, np.nan)
        batch: Any = None
        weights = torch.empty(0)
        with unprofiled():
            for step in range(steps):
                if step == frozen_at:
                    sampler.freeze()
                group["lr"] = schedules.cosine(step, steps, settings.step_size)
                group["noise"] = schedules.ramp(step, off, rise)
                if batch is None or n > settings.batch_size:
                    batch, weights = self._draw(data, newest, rng)
                trace[step] = self.backward(batch, weights, n)
                if not math.isfinite(trace[step]):
                    raise TaskError(
                        "diverged",
                        f"the posterior's chain ran away in step {step} of {steps}: lower step_size"
                        f" ({settings.step_size:g}) or prior_sd ({settings.prior_sd:g}).",
                    )
                sampler.step()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise TaskError("diverged", f"the posterior's chain ran away: lower step_size ({settings.step_size:g}).")
        return Trace(trace, frozen_at)

    def _draw(self, data: Sequence[AtomicData], newest: int, rng: np.random.Generator) -> tuple[Any, torch.Tensor]:
        """Return a batch of distinct structures and their weights in the mean."""
        indices, weights = priority.draw(len(data), self.settings.batch_size, rng, min(newest, len(data)))
        # A structure that was drawn twice is computed once, with twice the weight.
        distinct, place = np.unique(indices, return_inverse=True)
        shares = np.bincount(place, weights) / len(indices)
        batch = torch_geometric.batch.Batch.from_data_list([data[index] for index in distinct])
        return batch, torch.from_numpy(shares).to(self.parameters[0].dtype)
