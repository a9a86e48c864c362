"""Graphs for MACE, built with MACE's own neighbour list but without ASE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mace  # noqa: F401  (before torch and e3nn: it sets how they load pickles)
import numpy as np
import torch
from e3nn.o3._spherical_harmonics import _spherical_harmonics
from mace.data.neighborhood import get_neighborhood
from numpy.typing import NDArray

from .errors import TaskError

Graph = dict[str, torch.Tensor]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default precision for as long as the context lasts, exceptions included.

    :param dtype: the precision. MACE's constructors know no other way to be told.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def unprofiled() -> Iterator[None]:
    """Run TorchScript as it is written.

    e3nn's parts of a model are TorchScript. By default torch profiles their first call and then runs them rewritten, so
    that the first result of a process differs from the later ones in its last bits, and a proposal can be neither
    reversed nor replayed exactly. Without the rewriting every call is the same function; it costs nothing to speak of.

    What other code of the process has had rewritten (MACE's own ASE calculator on the same machine, for one) would go
    on being used: one function of e3nn belongs to no model but to the process, so it is made to forget that.
    """
    if _is_rewritten(_spherical_harmonics):
        _spherical_harmonics._debug_flush_compilation_cache()
    with torch.jit.optimized_execution(False):
        yield


def _is_rewritten(function: torch.jit.ScriptFunction) -> bool:
    """Return whether torch has rewritten a function of TorchScript after having profiled it."""
    try:
        function.get_debug_state()
    except RuntimeError:  # torch has no other word for it: there is no state of a rewritten function
        return False
    return True


def atomic_numbers(model: torch.nn.Module) -> list[int]:
    """Return the atomic numbers that a model knows, in its order.

    :param model: a MACE model.
    """
    return [int(number) for number in model.atomic_numbers]


def model_dtype(model: torch.nn.Module) -> torch.dtype:
    """Return the precision of a model's weights.

    :param model: a MACE model.
    """
    return next(model.parameters()).dtype


def heads_of(model: torch.nn.Module) -> list[str]:
    """Return the names of a model's heads; files of old versions have one and no list.

    :param model: a MACE model.
    """
    return [str(name) for name in getattr(model, "heads", None) or ["Default"]]


def head_index(model: torch.nn.Module, head: str | None = None) -> int:
    """Return the number of the head to use.

    :param model: a MACE model.
    :param head: its name in any case; None takes 'Default', or the only one there is.
    :raises TaskError: ``bad_input`` if there is no such head.
    """
    names = heads_of(model)
    if head is None and len(names) == 1:
        return 0
    wanted = (head or "Default").lower()
    for index, name in enumerate(names):
        if name.lower() == wanted:
            return index
    raise TaskError("bad_input", f"the model has no head '{head or 'Default'}'; it has {', '.join(names)}.")


def check_elements(numbers: NDArray[np.int64], model: torch.nn.Module) -> NDArray[np.int64]:
    """Return the index of each atom's element in a model.

    :param numbers: (N,) atomic numbers.
    :param model: a MACE model.
    :returns: (N,) indices.
    :raises TaskError: ``bad_input`` that names the elements that the model does not know, and those it knows.
    """
    from ase.data import chemical_symbols

    known = atomic_numbers(model)
    foreign = sorted({int(number) for number in numbers} - set(known))
    if foreign:
        symbols = ", ".join(chemical_symbols[number] for number in foreign)
        knows = ", ".join(chemical_symbols[number] for number in known)
        raise TaskError("bad_input", f"the model does not know the element(s) {symbols}; it knows {knows}.")
    lookup = {number: index for index, number in enumerate(known)}
    return np.array([lookup[int(number)] for number in numbers], dtype=np.int64)


class GraphBuilder:
    """Build graphs of structures for one model.

    :param model: a MACE model.
    :param head: name of the head; None takes the default one.
    :raises TaskError: ``bad_input`` if the head does not exist, or the model wants inputs beside the structure.
    """

    def __init__(self, model: torch.nn.Module, head: str | None = None):
        extra = getattr(model, "embedding_specs", None)
        if extra:
            raise TaskError("bad_input", f"the model needs {', '.join(extra)} beside the structure: not supported.")
        self.model = model
        self.dtype = model_dtype(model)
        self.cutoff = float(model.r_max)
        self.head = head_index(model, head)
        self._attributes: dict[bytes, torch.Tensor] = {}

    def node_attributes(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """Return the one-hot element vectors (N, elements) of atoms.

        :param numbers: (N,) atomic numbers.
        """
        numbers = np.ascontiguousarray(numbers, dtype=np.int64)
        key = numbers.tobytes()
        if key not in self._attributes:
            index = torch.from_numpy(check_elements(numbers, self.model))
            one_hot = torch.nn.functional.one_hot(index, len(atomic_numbers(self.model)))
            self._attributes[key] = one_hot.to(self.dtype)
        return self._attributes[key]

    def __call__(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: Sequence[bool]
    ) -> Graph:
        """Build the graph of one structure.

        :param numbers: (N,) atomic numbers.
        :param positions: (N, 3) in Å; not wrapped, so that the graph is a pure function of them.
        :param cell: (3, 3) in Å, rows are lattice vectors.
        :param pbc: (3,) whether each direction is periodic.
        :returns: the model's input for a batch of one.
        :raises TaskError: ``not_finite`` if a position is not: the neighbour list would search for it without end.
        """
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise TaskError("not_finite", "the structure has positions or a cell that are not finite.")
        periodic = (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
        positions = np.array(positions, dtype=np.float64)
        # A copy, since MACE's neighbour list writes into the cell in directions that are not periodic.
        edges, shifts, unit_shifts, cell = get_neighborhood(
            positions, self.cutoff, periodic, np.array(cell, dtype=np.float64)
        )
        n_atoms = len(numbers)
        return {
            "positions": torch.from_numpy(positions).to(self.dtype),
            "node_attrs": self.node_attributes(numbers),
            "edge_index": torch.from_numpy(np.ascontiguousarray(edges, dtype=np.int64)),
            "shifts": torch.from_numpy(np.ascontiguousarray(shifts, dtype=np.float64)).to(self.dtype),
            "unit_shifts": torch.from_numpy(np.ascontiguousarray(unit_shifts, dtype=np.float64)).to(self.dtype),
            "cell": torch.from_numpy(np.ascontiguousarray(cell, dtype=np.float64)).to(self.dtype),
            "batch": torch.zeros(n_atoms, dtype=torch.int64),
            "ptr": torch.tensor([0, n_atoms], dtype=torch.int64),
            "head": torch.tensor([self.head], dtype=torch.int64),
        }


def collate(graphs: Sequence[Graph]) -> Graph:
    """Return one graph that holds several, atoms in order.

    :param graphs: graphs of single structures.
    """
    sizes = [len(graph["positions"]) for graph in graphs]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    batch = {
        name: torch.cat([graph[name] for graph in graphs])
        for name in ("positions", "node_attrs", "shifts", "unit_shifts", "cell", "head")
    }
    batch["edge_index"] = torch.cat(
        [graph["edge_index"] + int(start) for graph, start in zip(graphs, starts, strict=False)], 1
    )
    batch["batch"] = torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes))
    batch["ptr"] = torch.from_numpy(starts.astype(np.int64))
    return batch


def outputs(model: torch.nn.Module, graph: Graph, *, stress: bool = True) -> dict[str, Any]:
    """Return what a model says of a graph; shapes: energy (G,), forces (N, 3), stress (G, 3, 3) or None.

    :param model: a MACE model.
    :param graph: its input; left as it was.
    :param stress: whether to give the stress.
    """
    # MACE replaces positions and shifts in the mapping that it is given, and asks for their gradient.
    data = {**graph, "positions": graph["positions"].detach().clone()}
    with unprofiled():
        return dict(model(data, training=False, compute_force=True, compute_stress=stress))
