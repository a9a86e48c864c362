"""Predictions of an ensemble of models: means, and standard deviations from the members' spread and their own."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics.potential import Evaluation

from ..errors import TaskError
from ..graphs import Graph, GraphBuilder, atomic_numbers, outputs
from ..models import load
from .likelihood import ForceHead

#: The least total standard deviation of an energy in units of the accuracy K.
FLOOR = 0.1
#: Names in a file of heads that are no weights.
_SCALARS = ("accuracy", "energy_sigma", "stress_sigma", "force_sigma")


@dataclass(frozen=True)
class Heads:
    """Hold what members know of their uncertainty beside their spread.

    :param accuracy: K in eV per structure.
    :param energy_sigma: of a member's energy in eV.
    :param stress_sigma: of a member's stress components in eV/Å³.
    :param force_sigma: that the heads start from, in eV/Å.
    :param weights: of the heads by name, with the members along the first axis.
    """

    accuracy: float
    energy_sigma: float
    stress_sigma: float
    force_sigma: float
    weights: Mapping[str, NDArray[np.float64]]

    @classmethod
    def read(cls, path: str | Path) -> Heads:
        """Read a file of heads.

        :param path: an .npz file as :meth:`write` leaves it.
        :raises TaskError: ``bad_input`` if it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            scalars = {name: float(content.pop(name)) for name in _SCALARS}
        except OSError as error:
            raise TaskError("bad_input", f"the file of heads '{path}' cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise TaskError("bad_input", f"'{path}' is no file of heads, or is damaged ({error}).") from None
        return cls(**scalars, weights=content)

    def write(self, path: str | Path) -> None:
        """Write a file of heads: plain arrays, no pickle.

        :param path: where to.
        """
        np.savez(path, **{name: np.array(getattr(self, name)) for name in _SCALARS}, **self.weights)  # type: ignore[arg-type]

    def module(self, member: int, model: torch.nn.Module) -> ForceHead:
        """Return the head of one member.

        :param member: its number.
        :param model: its model.
        :raises TaskError: ``bad_input`` if the weights do not fit the model, or there is no such member.
        """
        head = ForceHead(model, self.force_sigma)
        dtype = next(head.parameters()).dtype
        try:
            head.load_state_dict(
                {name: torch.from_numpy(values[member].copy()).to(dtype) for name, values in self.weights.items()}
            )
        except (RuntimeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise TaskError("bad_input", f"the heads do not fit member {member} of the ensemble ({reason}).") from None
        return head


def stack(heads: Sequence[ForceHead]) -> dict[str, NDArray[np.float64]]:
    """Return the weights of several heads by name, members along the first axis.

    :param heads: of the members, in order.
    """
    states = [head.state_dict() for head in heads]
    return {name: np.stack([state[name].detach().numpy() for state in states]) for name in states[0]}


def combine(
    values: ArrayLike, sigmas: ArrayLike = 0.0, floor: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over members and the total standard deviation, sqrt(variance of the members + mean of their own).

    The variance is the unbiased one (M - 1), which counts where members are few.

    :param values: (M, ...) of the members, M at least 2.
    :param sigmas: standard deviations that the members give themselves, broadcast against the values.
    :param floor: the least total standard deviation.
    :raises ValueError: with fewer than two members: a spread needs two.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        raise ValueError(f"a spread needs two members or more, not {len(array)}")
    own = np.broadcast_to(np.asarray(sigmas, dtype=np.float64), array.shape)
    total = np.sqrt(array.var(axis=0, ddof=1) + np.mean(own**2, axis=0))
    return array.mean(axis=0), np.maximum(total, floor)


@dataclass(frozen=True)
class Prediction:
    """Hold means over the members and total standard deviations, of G structures with N atoms in all.

    :param energy: (G,) in eV.
    :param energy_sd: (G,) in eV.
    :param forces: (N, 3) in eV/Å.
    :param forces_sd: (N, 3) in eV/Å.
    :param stress: (G, 3, 3) in eV/Å³, or None if it was not asked for.
    :param stress_sd: (G, 3, 3) in eV/Å³, or None.
    """

    energy: NDArray[np.float64]
    energy_sd: NDArray[np.float64]
    forces: NDArray[np.float64]
    forces_sd: NDArray[np.float64]
    stress: NDArray[np.float64] | None
    stress_sd: NDArray[np.float64] | None


class Ensemble:
    """Evaluate several models of the same kind: a sampled posterior, or a committee.

    :param paths: of the members' ``.model`` files, at least two.
    :param heads: file of their heads; None: a committee, whose spread is all it knows.
    :param head: of the models (a MACE head, not an uncertainty); None takes the default one.
    :raises TaskError: ``bad_input`` for fewer than two members, members that differ in elements, cut-off or precision,
        or heads that do not fit.
    """

    def __init__(self, paths: Sequence[str | Path], heads: str | Path | None = None, head: str | None = None):
        if len(paths) < 2:
            raise TaskError("bad_input", f"an ensemble needs two members or more, not {len(paths)}.")
        self.models = [load(path) for path in paths]
        self.build = GraphBuilder(self.models[0], head)
        for path, model in zip(paths, self.models, strict=True):
            # One graph serves them all.
            if (atomic_numbers(model), float(model.r_max), next(model.parameters()).dtype) != (
                atomic_numbers(self.models[0]),
                self.build.cutoff,
                self.build.dtype,
            ):
                raise TaskError(
                    "bad_input",
                    f"the member '{Path(path).name}' differs from '{Path(paths[0]).name}' in elements, cut-off or"
                    " precision: make an ensemble of models of one kind.",
                )
        self.heads = None if heads is None else Heads.read(heads)
        self.modules = [] if self.heads is None else [self.heads.module(k, m) for k, m in enumerate(self.models)]

    def predict(self, graph: Graph, *, stress: bool = True) -> Prediction:
        """Predict the structures of one graph.

        :param graph: as :attr:`build` and :func:`~aiida_slhmc.worker.graphs.collate` make them.
        :param stress: whether to give the stress.
        """
        members = [self._member(k, graph, stress) for k in range(len(self.models))]
        heads = self.heads
        floor = 0.0 if heads is None else FLOOR * heads.accuracy
        energy = combine([m["energy"] for m in members], 0.0 if heads is None else heads.energy_sigma, floor)
        forces = combine([m["forces"] for m in members], np.stack([m["sigma"] for m in members])[:, :, None])
        if not stress:
            return Prediction(*energy, *forces, None, None)
        return Prediction(
            *energy,
            *forces,
            *combine([m["stress"] for m in members], 0.0 if heads is None else heads.stress_sigma),
        )

    def _member(self, member: int, graph: Graph, stress: bool) -> dict[str, NDArray[np.float64]]:
        answer = outputs(self.models[member], graph, stress=stress)
        names = ("energy", "forces", "stress") if stress else ("energy", "forces")
        values = {name: answer[name].detach().numpy().astype(np.float64) for name in names}
        if self.modules:
            with torch.no_grad():
                values["sigma"] = self.modules[member](answer["node_feats"]).numpy().astype(np.float64)
        else:
            values["sigma"] = np.zeros(len(values["forces"]))
        return values


class EnsemblePotential:
    """Evaluate the mean of an ensemble: a :class:`~aiida_slhmc.numerics.potential.Potential` that knows its doubt.

    :param ensemble: the members.
    :param numbers: (N,) atomic numbers.
    :param pbc: (3,) whether each direction is periodic.
    :param stress: whether to give the stress, where there is one.
    :raises TaskError: ``bad_input`` for an unknown element.
    """

    def __init__(self, ensemble: Ensemble, numbers: ArrayLike, pbc: ArrayLike, stress: bool = True):
        self.ensemble, self.stress = ensemble, stress
        self._numbers = np.asarray(numbers, dtype=np.int64)
        self._pbc = [bool(value) for value in np.asarray(pbc)]
        ensemble.build.node_attributes(self._numbers)
        #: What was last predicted.
        self.last: Prediction | None = None

    def evaluate(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> Evaluation:
        """Evaluate one structure and keep the whole prediction in :attr:`last`.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å, rows are lattice vectors.
        :returns: mean energy in eV, forces in eV/Å, stress in eV/Å³ (None unless periodic in all directions, and asked
            for).
        """
        graph = self.ensemble.build(self._numbers, positions, cell, self._pbc)
        prediction = self.ensemble.predict(graph, stress=self.stress and all(self._pbc))
        self.last = prediction
        stress: Any = None if prediction.stress is None else prediction.stress[0]
        return Evaluation(float(prediction.energy[0]), prediction.forces, stress)
