"""MACE models: read, describe and save their files; evaluate structures with them.

A ``.model`` file is a pickle: reading one runs what it says. Read files only from sources you trust.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mace  # before torch and e3nn: it sets how they load pickles
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics.potential import Evaluation

from .errors import TaskError
from .foundations import file_sha256, resolve_foundation
from .graphs import GraphBuilder, atomic_numbers, collate, head_index, heads_of, model_dtype, outputs

__all__ = [
    "MacePotential",
    "describe",
    "describe_model",
    "file_sha256",
    "load",
    "read",
    "reference_energies",
    "resolve_foundation",
    "save",
    "state_sha256",
]

_LOG = logging.getLogger(__name__)

#: Atoms of one batch. On a CPU a larger batch is slower than its structures one by one (measured: 8 cells of 6 atoms
#: 2.0 times faster together, 2 cells of 48 atoms 1.2 times slower).
BATCH_ATOMS = 64

#: What unpickling a file that is no model raises.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    AttributeError,
    ImportError,
    LookupError,
    ValueError,
    TypeError,
)


def read(path: str | Path) -> torch.nn.Module:
    """Read a MACE model from its file, on the CPU, in the precision it was saved in.

    :param path: the ``.model`` file.
    :returns: a model of its own, not shared.
    :raises TaskError: ``bad_input`` if the file is missing or not a MACE model.
    """
    path = Path(path)
    return _unpickle(_bytes(path), path.name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError("bad_input", f"the model file '{path}' cannot be read: {error.strerror}.") from None


def _unpickle(content: bytes, name: str) -> torch.nn.Module:
    try:
        model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except _UNREADABLE as error:
        _LOG.debug("cannot unpickle %s", name, exc_info=True)
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise TaskError(
            "bad_input", f"'{name}' is not a MACE model, or is damaged: torch cannot read it ({reason})."
        ) from None
    if isinstance(model, torch.jit.ScriptModule):
        raise TaskError(
            "bad_input", f"'{name}' is a compiled (TorchScript) model: give the plain .model file beside it."
        )
    missing = [a for a in ("r_max", "atomic_numbers", "atomic_energies_fn", "interactions") if not hasattr(model, a)]
    if not isinstance(model, torch.nn.Module) or missing:
        raise TaskError("bad_input", f"'{name}' is not a MACE model: it holds a {type(model).__name__}.")
    return model


#: Models for evaluation by the SHA-256 of their file and their precision, and how many are kept: a run goes through one
#: a block.
_LOADED: dict[tuple[str, str | None], torch.nn.Module] = {}
_KEPT = 4


def load(path: str | Path, sha256: str | None = None, precision: str | None = None) -> torch.nn.Module:
    """Return a model for evaluation: shared by all who ask for the same content, weights frozen.

    :param path: the ``.model`` file.
    :param sha256: of the file, if known: the file is then read only once in a process.
    :param precision: ``float64`` or ``float32``; None: as it was saved.
    :raises TaskError: ``bad_input`` if the file is missing, not a MACE model, or another one than ``sha256`` says.
    """
    if sha256 is not None and (sha256, precision) in _LOADED:
        return _LOADED[sha256, precision]
    content = _bytes(Path(path))
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise TaskError("bad_input", f"the model file '{path}' is not the one it should be: its SHA-256 is {found}.")
    if (found, precision) not in _LOADED:
        model = _unpickle(content, Path(path).name).eval()
        if precision is not None:
            model = model.to(getattr(torch, precision))
        for parameter in model.parameters():
            parameter.requires_grad = False
        while len(_LOADED) >= _KEPT:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[found, precision] = model
    return _LOADED[found, precision]


def save(model: torch.nn.Module, path: str | Path) -> bytes:
    """Write a model to a file that MACE reads.

    :param model: the model; its weights are made trainable, as in the files that MACE writes.
    :param path: where to.
    :returns: what was written.
    """
    for parameter in model.parameters():
        parameter.requires_grad = True
    buffer = io.BytesIO()
    torch.save(model, buffer)
    # In one go, so that a failure while pickling leaves no half a file.
    Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def state_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers: names, precisions, shapes and bytes, sorted by name.

    The file's own hash differs between two writings of the same weights; this one does not.

    :param model: the model.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def reference_energies(model: torch.nn.Module, head: str | None = None) -> dict[int, float]:
    """Return the reference energies E0 in eV by atomic number.

    :param model: the model.
    :param head: its head; None takes the default one.
    """
    table = torch.atleast_2d(model.atomic_energies_fn.atomic_energies)
    row = table[head_index(model, head)]
    return {number: float(value) for number, value in zip(atomic_numbers(model), row, strict=True)}


def describe(path: str | Path) -> dict[str, Any]:
    """Return what identifies a model, in plain types.

    :param path: the ``.model`` file.
    :returns: file_sha256, state_sha256, class, atomic_numbers, symbols, r_max (Å), dtype, heads, atomic_energies
        (eV, by symbol, of each head), parameters, interactions, versions of torch, mace and e3nn.
    :raises TaskError: ``bad_input`` if the file is missing or not a MACE model.
    """
    content = _bytes(Path(path))
    return describe_model(_unpickle(content, Path(path).name), content)


def describe_model(model: torch.nn.Module, content: bytes) -> dict[str, Any]:
    """Return what identifies a model that is loaded, as :func:`describe` does.

    :param model: the model.
    :param content: of its file.
    """
    import e3nn
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in atomic_numbers(model)]
    energies = torch.atleast_2d(model.atomic_energies_fn.atomic_energies)
    heads = heads_of(model)
    return {
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "state_sha256": state_sha256(model),
        "class": type(model).__name__,
        "atomic_numbers": atomic_numbers(model),
        "symbols": symbols,
        "r_max": float(model.r_max),
        "dtype": str(model_dtype(model)).removeprefix("torch."),
        "heads": heads,
        "atomic_energies": {
            head: {symbol: float(value) for symbol, value in zip(symbols, row, strict=True)}
            for head, row in zip(heads, energies, strict=True)
        },
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "interactions": int(model.num_interactions),
        "versions": {"torch": torch.__version__, "mace": mace.__version__, "e3nn": e3nn.__version__},
    }


class MacePotential:
    """Evaluate a MACE model: a :class:`~aiida_slhmc.numerics.potential.Potential`.

    Energies, forces and stresses equal those of MACE's ASE calculator; the graph is built directly, which is faster for
    small cells and keeps no state between calls, as the reversibility of a proposal demands.

    :param path: the ``.model`` file.
    :param numbers: (N,) atomic numbers.
    :param pbc: (3,) whether each direction is periodic.
    :param head: of the model; None takes 'Default', or the only one there is.
    :param sha256: of the file, if known.
    :param precision: ``float64`` or ``float32``; None: as the model was saved.
    :raises TaskError: ``bad_input`` for a foreign file, an unknown element or head.
    """

    def __init__(
        self,
        path: str | Path,
        numbers: ArrayLike,
        pbc: ArrayLike,
        head: str | None = None,
        sha256: str | None = None,
        precision: str | None = None,
    ):
        self._model = load(path, sha256, precision)
        self._graph = GraphBuilder(self._model, head)
        self._numbers = np.asarray(numbers, dtype=np.int64)
        self._pbc = [bool(value) for value in np.asarray(pbc)]
        # Now rather than at the first evaluation, so that an unknown element is told of at once.
        self._graph.node_attributes(self._numbers)

    def evaluate(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å, rows are lattice vectors.
        :returns: total energy in eV, forces in eV/Å, stress in eV/Å³ (None unless periodic in all directions); all NaN
            if a position is not finite, so that a trajectory that ran away is found to have diverged.
        """
        periodic = all(self._pbc)
        if not np.isfinite(positions).all():
            return self._nowhere()
        answer = outputs(self._model, self._graph(self._numbers, positions, cell, self._pbc), stress=periodic)
        return Evaluation(
            energy=float(answer["energy"].item()),
            forces=answer["forces"].detach().numpy().astype(np.float64),
            stress=answer["stress"][0].detach().numpy().astype(np.float64) if periodic else None,
        )

    def evaluate_many(self, points: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> list[Evaluation]:
        """Evaluate several structures, small ones in batches; equal to single evaluations up to rounding.

        :param points: positions (N, 3) in Å and cell (3, 3) in Å, each.
        :returns: as :meth:`evaluate`, in order.
        """
        size = max(1, BATCH_ATOMS // len(self._numbers))
        results: list[Evaluation] = []
        for begin in range(0, len(points), size):
            some = points[begin : begin + size]
            if len(some) == 1 or not all(np.isfinite(positions).all() for positions, _ in some):
                results += [self.evaluate(*point) for point in some]
            else:
                results += self._batch(some)
        return results

    def _batch(self, points: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> list[Evaluation]:
        periodic = all(self._pbc)
        graph = collate([self._graph(self._numbers, *point, self._pbc) for point in points])
        answer = outputs(self._model, graph, stress=periodic)
        energies = answer["energy"].detach().numpy().astype(np.float64)
        forces = answer["forces"].detach().numpy().astype(np.float64).reshape(len(points), -1, 3)
        stresses = answer["stress"].detach().numpy().astype(np.float64) if periodic else [None] * len(points)
        return [Evaluation(float(e), f, s) for e, f, s in zip(energies, forces, stresses, strict=True)]

    def _nowhere(self) -> Evaluation:
        """Return the answer to a structure that is not finite."""
        stress = np.full((3, 3), np.nan) if all(self._pbc) else None
        return Evaluation(math.nan, np.full((len(self._numbers), 3), np.nan), stress)
