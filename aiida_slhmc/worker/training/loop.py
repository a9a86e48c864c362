"""The training loop, on MACE's own graphs, losses and data loader.

It does what ``mace_run_train`` does for one head in one process, and in addition really stops early, ends with an error
when it diverges, counts the untrained model as epoch 0, and touches no global random state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from mace.data import AtomicData
from mace.modules import WeightedEnergyForcesLoss, WeightedEnergyForcesStressLoss
from mace.tools import torch_geometric

from ..errors import TaskError
from ..graphs import default_dtype, model_dtype, unprofiled
from ..hyperparameters import Hyperparameters

State = dict[str, torch.Tensor]

#: A validation loss this many times that of predicting nothing at all means that the weights ran away.
RUNAWAY = 1e6

#: How the loop reports: epoch, row of the curve.
Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Errors:
    """Hold errors over a set of frames.

    :param loss: weighted loss, as trained on.
    :param energy: RMSE in eV/atom.
    :param forces: RMSE over components in eV/Å.
    :param stress: RMSE over components in eV/Å³; NaN without labels.
    :param energies: (F,) predicted total energies in eV, in the order of the frames.
    """

    loss: float
    energy: float
    forces: float
    stress: float
    energies: list[float] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, float]:
        """Return the loss and the errors in meV/atom, meV/Å and meV/Å³."""
        return {
            "loss": self.loss,
            "energy_mev_per_atom": 1e3 * self.energy,
            "forces_mev_per_angstrom": 1e3 * self.forces,
            "stress_mev_per_cubic_angstrom": 1e3 * self.stress,
        }


@dataclass
class Outcome:
    """Hold what a training gave.

    :param curve: a row for each epoch from 0 (untrained).
    :param best_epoch: the epoch whose weights the model now has.
    :param epochs: epochs that were run.
    :param stopped_early: whether patience ended the training.
    """

    curve: list[dict[str, float]]
    best_epoch: int
    epochs: int
    stopped_early: bool


def loss_function(settings: Hyperparameters, dtype: torch.dtype) -> torch.nn.Module:
    """Return MACE's weighted loss; with stresses if they have a weight.

    :param settings: the weights.
    :param dtype: precision of the weights.
    """
    with default_dtype(dtype):
        if settings.stress_weight > 0.0:
            return WeightedEnergyForcesStressLoss(
                settings.energy_weight, settings.forces_weight, settings.stress_weight
            )
        return WeightedEnergyForcesLoss(settings.energy_weight, settings.forces_weight)


def _forward(model: torch.nn.Module, batch: Any, *, training: bool, stress: bool) -> Any:
    data = batch.to_dict()
    # MACE asks for the gradient of the positions it is given: the dataset's own must stay as they are.
    data["positions"] = data["positions"].detach().clone()
    return model(data, training=training, compute_force=True, compute_stress=stress)


@contextmanager
def _frozen(model: torch.nn.Module) -> Iterator[None]:
    flags = [parameter.requires_grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter, flag in zip(model.parameters(), flags, strict=True):
            parameter.requires_grad = flag


def evaluate(model: torch.nn.Module, data: Sequence[AtomicData], settings: Hyperparameters) -> Errors:
    """Return the errors of a model over frames.

    :param model: the model.
    :param data: graphs with labels, at least one.
    :param settings: weights of the loss, frames at a time.
    """
    function = loss_function(settings, model_dtype(model))
    # Even a loader that shuffles nothing draws from the process's generator, unless it is given one.
    loader = torch_geometric.dataloader.DataLoader(
        list(data), batch_size=settings.valid_batch_size, generator=torch.Generator()
    )
    loss = energy = forces = stress = 0.0
    n_components = n_stresses = 0
    energies: list[float] = []
    with _frozen(model), unprofiled():
        for batch in loader:
            given = _forward(model, batch, training=False, stress=True)
            answer = {name: given[name].detach() for name in ("energy", "forces", "stress")}
            sizes = batch.ptr[1:] - batch.ptr[:-1]
            loss += batch.num_graphs * float(function(pred=answer, ref=batch))
            energy += float((((batch.energy - answer["energy"]) / sizes) ** 2).sum())
            forces += float(((batch.forces - answer["forces"]) ** 2).sum())
            n_components += batch.forces.numel()
            labelled = batch.stress_weight > 0
            stress += float(((batch.stress - answer["stress"])[labelled] ** 2).sum())
            n_stresses += 9 * int(labelled.sum())
            energies += answer["energy"].tolist()
    return Errors(
        loss=loss / len(data),
        energy=math.sqrt(energy / len(data)) if energy >= 0 else math.nan,
        forces=math.sqrt(forces / n_components) if forces >= 0 else math.nan,
        stress=math.sqrt(stress / n_stresses) if n_stresses and stress >= 0 else math.nan,
        energies=energies,
    )


def optimizer(model: torch.nn.Module, settings: Hyperparameters) -> torch.optim.Optimizer:
    """Return Adam with MACE's groups: only linear and product weights decay.

    :param model: the model; weights that ask for no gradient are left out.
    :param settings: learning rate, weight decay, AMSGrad.
    """
    decay: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = name.startswith("products.") or (
            name.startswith("interactions.") and ("linear.weight" in name or "skip_tp_full.weight" in name)
        )
        (decay if decays else plain).append(parameter)
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.Adam(groups, lr=settings.learning_rate, amsgrad=settings.amsgrad)


class Schedule:
    """Change the learning rate from epoch to epoch.

    :param optimizer: whose rate changes.
    :param settings: which way.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Hyperparameters):
        self._optimizer = optimizer
        self._settings = settings
        self._plateau = (
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=settings.scheduler_factor, patience=settings.scheduler_patience
            )
            if settings.scheduler == "plateau"
            else None
        )

    def step(self, epoch: int, valid_loss: float) -> None:
        """Set the rate of the next epoch.

        :param epoch: that was just run, from 1.
        :param valid_loss: after it.
        """
        if self._plateau is not None:
            self._plateau.step(valid_loss)
        elif self._settings.scheduler == "cosine":
            floor = self._settings.scheduler_floor
            wave = 0.5 * (1.0 + math.cos(math.pi * epoch / self._settings.max_epochs))
            for group in self._optimizer.param_groups:
                group["lr"] = self._settings.learning_rate * (floor + (1.0 - floor) * wave)


def _label_scale(data: Sequence[AtomicData], settings: Hyperparameters) -> float:
    """Return the loss of a model that predicts the mean energy, no force and no stress."""
    per_atom = torch.stack([graph.energy / len(graph.positions) for graph in data])
    forces = torch.cat([graph.forces for graph in data])
    stress = torch.cat([graph.stress for graph in data])
    return (
        settings.energy_weight * float(per_atom.var(unbiased=False))
        + settings.forces_weight * float(forces.square().mean())
        + settings.stress_weight * float(stress.square().mean())
    )


def _copy(model: torch.nn.Module) -> State:
    return copy.deepcopy(model.state_dict())


def _finite(model: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def train(
    model: torch.nn.Module,
    train_data: Sequence[AtomicData],
    valid_data: Sequence[AtomicData],
    settings: Hyperparameters,
    seed: int,
    progress: Progress | None = None,
) -> Outcome:
    """Train a model in place; it ends with the weights of the epoch whose validation loss was least, 0 included.

    :param model: the model; weights that ask for no gradient stay as they are.
    :param train_data: graphs to train on, at least one.
    :param valid_data: graphs to judge by, at least one.
    :param settings: the hyperparameters.
    :param seed: of the order of the frames. The process's own random state is left as it was.
    :param progress: called after each epoch.
    :raises TaskError: ``diverged`` if the loss is no longer finite or far beyond that of predicting nothing.
    """
    # What the process computed before must not show in the result.
    with torch.random.fork_rng(devices=[]), unprofiled():
        torch.manual_seed(seed)
        return _train(model, train_data, valid_data, settings, seed, progress)


def _train(
    model: torch.nn.Module,
    train_data: Sequence[AtomicData],
    valid_data: Sequence[AtomicData],
    settings: Hyperparameters,
    seed: int,
    progress: Progress | None,
) -> Outcome:
    from torch_ema import ExponentialMovingAverage

    function = loss_function(settings, model_dtype(model))
    loader = torch_geometric.dataloader.DataLoader(
        list(train_data),
        batch_size=min(settings.batch_size, len(train_data)),
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
    )
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = optimizer(model, settings)
    schedule = Schedule(adam, settings)
    average = None if settings.ema_decay is None else ExponentialMovingAverage(moving, settings.ema_decay)
    untrained = evaluate(model, valid_data, settings)
    limit = RUNAWAY * max(untrained.loss, _label_scale(valid_data, settings))
    if not math.isfinite(untrained.loss):
        raise TaskError("diverged", "the model to start from gives no finite loss on the validation frames.")
    curve = [{"epoch": 0, "train_loss": math.nan, "learning_rate": settings.learning_rate} | _valid_row(untrained)]
    best, best_epoch, best_state = untrained.loss, 0, _copy(model)
    epoch, waited = 0, 0
    while epoch < settings.max_epochs and waited < settings.patience:
        epoch += 1
        rate = adam.param_groups[0]["lr"]
        train_loss = _epoch(model, loader, function, adam, settings, average)
        with average.average_parameters() if average is not None else nullcontext():
            errors = evaluate(model, valid_data, settings)
            if not (math.isfinite(train_loss) and errors.loss <= limit and _finite(model)):
                raise TaskError(
                    "diverged",
                    f"the training diverged in epoch {epoch} (training loss {train_loss:.3g}, validation loss "
                    f"{errors.loss:.3g} from {untrained.loss:.3g}): lower learning_rate ({settings.learning_rate:g}).",
                )
            if errors.loss < best:
                best, best_epoch, best_state, waited = errors.loss, epoch, _copy(model), 0
            else:
                waited += 1
        row = {"epoch": epoch, "train_loss": train_loss, "learning_rate": rate} | _valid_row(errors)
        curve.append(row)
        if progress is not None:
            progress(epoch, row)
        schedule.step(epoch, errors.loss)
    model.load_state_dict(best_state)
    return Outcome(curve, best_epoch, epoch, stopped_early=waited >= settings.patience)


def _valid_row(errors: Errors) -> dict[str, float]:
    return {f"valid_{key}": value for key, value in errors.to_dict().items()}


def _epoch(
    model: torch.nn.Module,
    loader: Any,
    function: torch.nn.Module,
    adam: torch.optim.Optimizer,
    settings: Hyperparameters,
    average: Any,
) -> float:
    """Run one epoch and return its mean loss over frames; NaN as soon as one step has none."""
    total, count = 0.0, 0
    for batch in loader:
        adam.zero_grad(set_to_none=True)
        answer = _forward(model, batch, training=True, stress=settings.stress_weight > 0.0)
        loss = function(pred=answer, ref=batch)
        if not bool(torch.isfinite(loss)):
            return math.nan
        loss.backward()
        if settings.clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=settings.clip_grad)
        adam.step()
        if average is not None:
            average.update()
        total += batch.num_graphs * loss.item()
        count += batch.num_graphs
    return total / count
