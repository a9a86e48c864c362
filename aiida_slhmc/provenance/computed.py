"""What functions of this package make of a node: numbers of a report that no node holds, made again by an audit.

Each is a plain function of what is stored, with fixed seeds, so that report and audit come to the same number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from aiida import orm
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aiida_slhmc.analysis import comparison as comparing
from aiida_slhmc.analysis.coverage import Array, Reference, Residuals
from aiida_slhmc.analysis.samples import Plan, analyse, make_plan, units_of
from aiida_slhmc.calculations.compare import sample_arrays
from aiida_slhmc.data import DatasetData, FramesData

from .label_cost import label_counts
from .links import CREATE, called, neighbours
from .progress import latest_made
from .steps import step_of

#: How a sample is analysed that no comparison has planned.
SETTINGS: dict[str, Any] = {
    "pair": None, "cutoff": None, "windows": None, "shell": None, "multiples": [1.0, 1.0, 1.0], "rdf_range": 6.0,
}  # fmt: skip
#: Bootstrap of a sample's errors.
SEED, RESAMPLES = 0, 100
#: Frames whose descriptors are computed, of a dataset and of what is laid beside it; of more every k-th is taken.
FRAMES = 150
#: Arrays of a structure.
GEOMETRY = ("numbers", "positions", "cells", "pbc")
EXTEND = {"process_type": {"like": "%slhmc.extend"}}


def settings() -> dict[str, Any]:
    """Return what decides the numbers beside the nodes: every report records it."""
    return {**SETTINGS, "seed": SEED, "resamples": RESAMPLES, "frames": FRAMES}


class NotComputable(LookupError):
    """A node does not hold what a number is computed from; says in one sentence why."""


@dataclass(frozen=True)
class Sample:
    """Hold a sample of structures and its analysis.

    :param arrays: numbers (N,), positions (S, N, 3) and cells (S, 3, 3) in Å, chain (S,), ...
    :param plan: how it was analysed.
    :param analysis: of :func:`aiida_slhmc.analysis.samples.analyse`.
    """

    arrays: Mapping[str, NDArray[Any]]
    plan: Plan
    analysis: Mapping[str, NDArray[Any]]


def analysed(node: orm.ArrayData) -> Sample:
    """Return a sample of structures with its analysis.

    :param node: states of chains, a trajectory, or labelled frames: of these the proposals count.
    :raises NotComputable: if there is nothing to analyse.
    """
    return _analysed(node.uuid)


@lru_cache(maxsize=16)
def _analysed(uuid: str) -> Sample:
    """Analyse the sample of a node, which never changes: figures and numbers ask for the same one."""
    node = orm.load_node(uuid)
    names = node.get_arraynames()
    if "positions" not in names or "cells" not in names:
        raise NotComputable("it holds no structures")
    temperature = float(node.get_array("temperature").min()) if "temperature" in names else 0.0
    if isinstance(node, FramesData):
        arrays = _frames(node)
    else:
        try:
            arrays = sample_arrays({"sample": node}, temperature if temperature > 0.0 else None)
        except ValueError as error:
            raise NotComputable(str(error)) from error
    cells = arrays["cells"]
    moves = bool(np.ptp(cells, axis=0).max() > 0.0) if len(cells) else False
    try:
        plan = make_plan(arrays, SETTINGS, temperature=temperature, moves=moves)
        return Sample(arrays, plan, analyse(arrays, plan))
    except (ValueError, IndexError) as error:
        raise NotComputable(f"it cannot be analysed: {error}") from error


def _frames(node: FramesData) -> dict[str, NDArray[Any]]:
    """Return the proposals among labelled frames as a sample."""
    names = node.get_arraynames()
    proposed = node.get_array("length") > 0 if "length" in names else np.ones(node.n_frames, dtype=bool)
    numbers = node.get_array("numbers")
    if not proposed.any() or (numbers != numbers[0]).any():
        raise NotComputable("it holds no frames of one composition")
    rows = {name: node.get_array(name)[proposed] for name in ("positions", "cells", "stresses", "chain")
            if name in names}  # fmt: skip
    return {"numbers": numbers[0], **rows}


def sample(node: orm.Node) -> dict[str, Any]:
    """Return the numbers that a sample of structures gives, as :func:`aiida_slhmc.analysis.comparison.quantities`.

    :param node: as for :func:`analysed`.
    :raises NotComputable: if there is nothing to analyse.
    """
    if not isinstance(node, orm.ArrayData):
        raise NotComputable("it holds no structures")
    found = analysed(node)
    rng = np.random.default_rng(SEED)
    try:
        values = comparing.quantities(
            found.analysis, found.arrays["numbers"], found.plan, rng=rng, resamples=RESAMPLES
        )  # fmt: skip
    except ValueError as error:
        raise NotComputable(f"it cannot be analysed: {error}") from error
    return {
        "frames": len(found.arrays["positions"]),
        "cutoff": found.plan.cutoff,
        "pair": list(found.plan.pair),
        "formula_unit": units_of(found.arrays["numbers"]),
        "quantities": values,
    }


def labels(node: orm.Node) -> dict[str, Any]:
    """Return what the labels of a run cost: ``calls``, ``computed``, ``reused``, ``failed``.

    :param node: of the run.
    """
    return asdict(label_counts(node))  # type: ignore[arg-type]


def time(node: orm.Node) -> dict[str, Any]:
    """Return the compute time that the steps of a run report, and how many steps there are.

    :param node: of the run.
    :returns: ``steps``: by kind of step ``count``, and ``seconds`` where they report a wall time; ``seconds`` of all;
        ``elapsed``: seconds from the start of the run to that of its last step.
    """
    kinds: dict[int, str] = {}
    last = node.ctime
    for pk, kind, started, _ in called(int(node.pk or 0), ["id", "process_type", "ctime"]):
        last = max(last, started)
        step = step_of(kind)
        if step is not None:
            kinds[pk] = step.replace(".", " ").replace("_", " ")
    counts = Counter(kinds.values())
    spent: dict[str, dict[int, float]] = {kind: {} for kind in counts}
    for pk, made, wall, *_ in neighbours(kinds, CREATE, ["id", "attributes.wall_time"], forward=True, cls=orm.Dict):
        if wall is not None:
            spent[kinds[pk]][made] = float(wall)
    # Rounded once, so that the order in which a database gives its rows does not show.
    return {
        "steps": {kind: {"count": counts[kind], "seconds": math.fsum(spent[kind].values())} for kind in counts},
        "seconds": math.fsum(wall for walls in spent.values() for wall in walls.values()),
        # Of the run itself only the start is kept for good: a new label moves its time of change.
        "elapsed": (last - node.ctime).total_seconds(),
    }


def graph(node: orm.Node) -> dict[str, Any]:
    """Return how many processes a run called, whatever the depth.

    :param node: of the run.
    """
    return {"processes": len(called(int(node.pk or 0), ["id"]))}


@dataclass(frozen=True)
class Covered:
    """Hold how well the labels that a model was trained on cover later ones.

    :param chunks: the training set, of which the subspaces are.
    :param frames: what is laid beside it.
    :param production: whether these are of a production phase, or of the last block.
    :param reference: subspaces of the training set.
    :param residuals: of the frames' atoms.
    """

    chunks: list[dict[str, NDArray[Any]]]
    frames: dict[str, NDArray[Any]]
    production: bool
    reference: Reference
    residuals: Residuals

    def maps(self, number: int) -> tuple[Array, Array]:
        """Return the atoms of an element along the components: of the training set, and of the later frames.

        :param number: atomic number.
        :returns: (n, k) and (m, k).
        """
        own = np.concatenate([self.reference.map(chunk, number) for chunk in self.chunks])
        return own, self.reference.map(self.frames, number)


def covered(run: orm.Node) -> Covered:
    """Lay the labels of a run's production phase, or of its last block, beside those that were trained on before.

    :param run: node of a run.
    :raises NotComputable: if there are too few, or what computes descriptors is not installed.
    """
    dataset = latest_made(run, EXTEND, DatasetData)  # type: ignore[arg-type]
    if dataset is None:
        raise NotComputable("it has trained on no labels")
    production = run.outputs.production if isinstance(run, orm.ProcessNode) and "production" in run.outputs else None
    chunks = [_geometry(chunk) for chunk in dataset.frames() if chunk.n_frames]
    if production is None and len(chunks) < 2:
        raise NotComputable("it has the labels of one block alone")
    later = chunks.pop() if production is None else _geometry(production)
    total = sum(len(chunk["numbers"]) for chunk in chunks)
    chunks = [_thinned(chunk, total) for chunk in chunks]
    later = _thinned(later, len(later["numbers"]))
    if not len(later["numbers"]):
        raise NotComputable("its last block has no labels")
    try:
        reference = Reference.fit(chunks)
        return Covered(chunks, later, production is not None, reference, reference.residuals(later))
    except ImportError as error:
        raise NotComputable(f"'{error.name}' is not installed, which computes descriptors") from error
    except ValueError as error:
        raise NotComputable(str(error)) from error


def _geometry(chunk: FramesData) -> dict[str, NDArray[Any]]:
    proposed = chunk.get_array("length") > 0 if "length" in chunk.get_arraynames() else slice(None)
    return {name: chunk.get_array(name)[proposed] for name in GEOMETRY}


def _thinned(chunk: dict[str, NDArray[Any]], total: int) -> dict[str, NDArray[Any]]:
    step = -(-total // FRAMES) if total > FRAMES else 1
    return {name: values[::step] for name, values in chunk.items()}


def coverage(node: orm.Node) -> dict[str, Any]:
    """Return which share of the atoms of a run's later labels lies outside what it was trained on.

    :param node: of the run.
    :raises NotComputable: as :func:`covered`.
    """
    return coverage_numbers(covered(node))


def coverage_numbers(found: Covered) -> dict[str, Any]:
    """Return the numbers of a coverage.

    :param found: the coverage.
    :returns: ``trained`` and ``frames`` that were looked at; by element ``outliers`` (share of its atoms), ``q`` (mean
        over the atoms) and ``limit`` (of Q; in the squared unit of the descriptor).
    """
    numbers = np.asarray(found.frames["numbers"], dtype=int)
    elements = {}
    for number in np.unique(numbers):
        these = numbers == number
        elements[chemical_symbols[number]] = {
            "outliers": float(found.residuals.outlier[these].mean()),
            "q": float(found.residuals.q[these].mean()),
            "limit": float(found.reference.limits[int(number)]),
        }
    return {
        "trained": sum(len(chunk["numbers"]) for chunk in found.chunks),
        "frames": len(numbers),
        "production": found.production,
        "elements": elements,
    }


#: What can be computed, by name.
COMPUTED: dict[str, Callable[[orm.Node], Mapping[str, Any]]] = {
    "sample": sample,
    "labels": labels,
    "time": time,
    "graph": graph,
    "coverage": coverage,
}


def compute(node: orm.Node, name: str) -> Mapping[str, Any]:
    """Return what a function makes of a node.

    :param node: the node.
    :param name: one of :data:`COMPUTED`.
    :raises LookupError: if it makes nothing of this node.
    """
    return COMPUTED[name](node)
