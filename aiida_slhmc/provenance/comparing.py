"""Compare what a step made then with what it makes now: identical, within a stated tolerance, or different."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from aiida import orm
from aiida.orm.implementation.utils import clean_value

from aiida_slhmc.data import MaceModelData

#: Verdicts, the better ones first.
IDENTICAL, WITHIN, DIFFERS = "identical", "within tolerance", "differs"
#: What differs between two runs of one step and is no result: times, and versions, which are told apart.
IGNORED = ("wall_time", "version", "versions")
#: Attributes of structures and datasets that are compared.
STRUCTURE = ("cell", "pbc1", "pbc2", "pbc3", "kinds", "sites")


@dataclass(frozen=True)
class Tolerance:
    """Say how far two results of one step may be apart, and why.

    :param energy: in eV.
    :param forces: in eV/Å.
    :param stress: in eV/Å³.
    :param length: of positions and cells in Å.
    :param relative: of every other number.
    :param why: the reason.
    """

    energy: float = 0.0
    forces: float = 0.0
    stress: float = 0.0
    length: float = 0.0
    relative: float = 0.0
    why: str = ""

    def of(self, name: str, values: Any) -> Any:
        """Return the tolerance of a quantity.

        :param name: of the array or number.
        :param values: what it was then.
        """
        for kind, names in KINDS.items():
            if name in names:
                return getattr(self, kind)
        return self.relative * np.abs(values)


#: Which quantity an array or a number is.
KINDS: dict[str, tuple[str, ...]] = {
    "energy": (
        "energies", "energy", "potential_start", "potential_end", "kinetic_start", "kinetic_end", "drift",
        "target_start", "target_end", "delta",
    ),
    "forces": ("forces",),
    "stress": ("stresses", "stress"),
    "length": ("positions", "cells", "position", "cell"),
}  # fmt: skip

_ORDER = "order of summation: threads, libraries and processors differ in the last digits"
_GROWS = f"{_ORDER}, and a trajectory lets that grow"
_MODEL = f"{_ORDER}, and a training lets that grow: of models their predictions count"
_CHAOS = f"{_ORDER}, and dynamics lets that grow without bound: of a trajectory its first frame counts"
#: Of every step that is not named here: none. Bookkeeping is the same to the bit on every platform.
TOLERANCES = {
    "propose": Tolerance(1e-6, 1e-5, 1e-6, 1e-6, 1e-6, _GROWS),
    "propose_many": Tolerance(1e-6, 1e-5, 1e-6, 1e-6, 1e-6, _GROWS),
    "label": Tolerance(1e-5, 1e-4, 1e-5, 0.0, 1e-6, f"{_ORDER}; a self-consistent field stops at its threshold"),
    "predict": Tolerance(1e-6, 1e-5, 1e-6, 0.0, 1e-6, _ORDER),
    "finetune": Tolerance(1e-3, 1e-2, 1e-3, 0.0, 0.05, _MODEL),
    "posterior": Tolerance(1e-2, 1e-1, 1e-2, 0.0, 0.2, _MODEL),
    "dynamics": Tolerance(1e-4, 1e-3, 1e-4, 1e-4, 1e-3, _CHAOS),
    "explore": Tolerance(1e-4, 1e-3, 1e-4, 1e-4, 1e-3, _CHAOS),
    **{
        step: Tolerance(1e-9, 1e-9, 1e-9, 1e-9, 1e-8, _ORDER)
        for step in ("prequential", "diagnose", "history", "record_round", "ensemble", "score", "isolated_energies",
                     "analyse_sample", "compare_sample", "take_up")
    },
}  # fmt: skip
#: Steps of which only the first frame can be compared where they are not identical.
CHAOTIC = ("dynamics", "explore")


@dataclass(frozen=True)
class Difference:
    """Name one difference: where, what was there then, what is there now, and how far apart numbers are."""

    where: str
    then: Any
    now: Any
    size: float | None = None
    within: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.within and self.size is None:
            return f"{self.where}: not recorded then, {_short(self.now)} now"
        if self.size is None:
            return f"{self.where}: {_short(self.then)} then, {_short(self.now)} now"
        return f"{self.where}: {_short(self.then)} then, {_short(self.now)} now (by {self.size:.3g})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def verdict(differences: Sequence[Difference]) -> str:
    """Return the verdict on differences.

    :param differences: of one step.
    """
    if not differences:
        return IDENTICAL
    return WITHIN if all(one.within for one in differences) else DIFFERS


def compare(then: orm.Data, now: orm.Data, tolerance: Tolerance, where: str, chaotic: bool = False) -> list[Difference]:
    """Return the differences between a stored node and one that was made again; of models see :mod:`.again`.

    :param then: the stored one.
    :param now: the other, unstored.
    :param tolerance: how far apart they may be.
    :param where: name of the output.
    :param chaotic: whether only first frames can be compared where they are not identical.
    """
    if type(then) is not type(now):
        return [Difference(where, type(then).__name__, type(now).__name__)]
    if isinstance(then, MaceModelData) and isinstance(now, MaceModelData):
        return _values(then.state_sha256, now.state_sha256, f"{where}.state_sha256", tolerance)
    if isinstance(then, orm.ArrayData) and isinstance(now, orm.ArrayData):
        theirs, ours = ({name: node.get_array(name) for name in node.get_arraynames()} for node in (then, now))
        found = [Difference(f"{where}.{name}", None, _kind(ours[name])) for name in sorted(set(ours) - set(theirs))]
        pairs = {name: (theirs[name], ours.get(name)) for name in sorted(theirs)}
        return found + _arrays(pairs, where, tolerance, chaotic) + _values(_plain(then), _plain(now), where, tolerance)
    if isinstance(then, orm.SinglefileData) and isinstance(now, orm.SinglefileData):
        return _files(then, now, where, tolerance)
    if isinstance(then, orm.StructureData):
        ours, theirs = _plain(then), _plain(now)
        return [
            one for key in STRUCTURE for one in _values(ours.get(key), theirs.get(key), f"{where}.{key}", tolerance)
        ]
    return _values(_plain(then), _plain(now), where, tolerance)


def _plain(node: orm.Data) -> dict[str, Any]:
    """Return the attributes of a node as the database keeps them; what arrays are compared by is left out."""
    attributes = clean_value(dict(node.base.attributes.all))
    return {key: value for key, value in attributes.items() if not key.startswith("array|") and key != "content_sha256"}


def _values(then: Any, now: Any, where: str, tolerance: Tolerance) -> list[Difference]:
    return list(_walk(then, now, where, where.rpartition(".")[2], tolerance))


def _walk(then: Any, now: Any, where: str, name: str, tolerance: Tolerance) -> Iterator[Difference]:
    """Yield the differences of plain values, in the order of their names."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now} - set(IGNORED)):
            if key not in then:
                # A later version tells more; what was recorded is what counts.
                yield Difference(f"{where}.{key}", None, now[key], within=True)
            else:
                yield from _walk(then[key], now.get(key), f"{where}.{key}", key, tolerance)
    elif isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
        for index, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _walk(one, other, f"{where}[{index}]", name, tolerance)
    elif _number(then) and _number(now):
        if then != now:
            size = abs(then - now)
            yield Difference(where, then, now, float(size), bool(size <= tolerance.of(name, then)))
    elif then != now:
        yield Difference(where, then, now)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _arrays(arrays: Mapping[str, tuple[Any, Any]], where: str, tolerance: Tolerance, chaotic: bool) -> list[Difference]:
    found = []
    for name, (then, now) in arrays.items():
        place = f"{where}.{name}"
        if now is None or then.shape != now.shape or then.dtype.kind != now.dtype.kind:
            found.append(Difference(place, _kind(then), None if now is None else _kind(now)))
        elif not np.array_equal(then, now, equal_nan=then.dtype.kind == "f"):
            found.append(_array(then, now, place, name, tolerance, chaotic))
    return found


def _kind(array: Any) -> str:
    return f"{array.dtype} {array.shape}"


def _array(then: Any, now: Any, where: str, name: str, tolerance: Tolerance, chaotic: bool) -> Difference:
    """Return the first difference of two arrays that are not equal, with the largest."""
    different = ~np.isclose(then, now, rtol=0, atol=0, equal_nan=True) if then.dtype.kind == "f" else then != now
    index = tuple(int(axis) for axis in np.argwhere(different)[0])
    if then.dtype.kind not in "fiu":
        return Difference(f"{where}{list(index)}", then[index].item(), now[index].item())
    if chaotic and then.ndim and len(then) > 1 and name != "numbers":
        largest, within = _largest(then[:1], now[:1], name, tolerance)
    else:
        largest, within = _largest(then, now, name, tolerance)
    return Difference(f"{where}{list(index)}", then[index].item(), now[index].item(), largest, within)


def _largest(then: Any, now: Any, name: str, tolerance: Tolerance) -> tuple[float, bool]:
    """Return the largest difference, and whether all are within the tolerance; of NaN only NaN is."""
    with np.errstate(invalid="ignore"):
        size = np.abs(np.asarray(then, dtype=float) - np.asarray(now, dtype=float))
    both = np.isnan(np.asarray(then, dtype=float)) & np.isnan(np.asarray(now, dtype=float))
    size = np.where(both | (np.asarray(then) == np.asarray(now)), 0.0, size)
    if np.isnan(size).any():
        return math.inf, False
    return float(size.max(initial=0.0)), bool((size <= tolerance.of(name, then)).all())


def _files(then: orm.SinglefileData, now: orm.SinglefileData, where: str, tolerance: Tolerance) -> list[Difference]:
    """Return the differences of two files: of arrays, if they are such."""
    contents = [node.get_content(mode="rb") for node in (then, now)]
    if contents[0] == contents[1]:
        return []
    try:
        first, second = ({name: file[name] for name in file.files} for file in
                         (np.load(io.BytesIO(content), allow_pickle=False) for content in contents))  # fmt: skip
    except (ValueError, OSError, AttributeError):
        return [Difference(where, f"{len(contents[0])} bytes", f"{len(contents[1])} bytes")]
    return _arrays({name: (array, second.get(name)) for name, array in first.items()}, where, tolerance, chaotic=False)
