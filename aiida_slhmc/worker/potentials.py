"""The table of the engines: potentials behind the numerics' port, each a pure function of positions and cell."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

from . import calculators
from .errors import TaskError, need

#: Engines that are built in: the package whose version counts, and what builds the potential in ``worker.engines``:
#: ``(spec, numbers, pbc, log) -> Potential``.
ENGINES = {
    "ase": ("ase", "ase_calculator:build"),
    "breathing": ("aiida-slhmc", "analytic:breathing"),
    "chgnet": ("chgnet", "chgnet_network:ChgnetPotential"),
    "einstein": ("aiida-slhmc", "analytic:einstein"),
    "faulty": ("aiida-slhmc", "faulty:FaultyPotential"),
    "gpaw": ("gpaw", "plane_waves:GpawPotential"),
    "mace": ("mace-torch", "mace_network:build"),
    "pyscf": ("pyscf", "molecule:MoleculePotential"),
    "sevennet": ("sevenn", "sevennet:SevenNetPotential"),
    "tblite": ("tblite", "tight_binding:TightBindingPotential"),
}
#: Entry points of further engines: ``(level, numbers, pbc) -> Potential``.
GROUP = "aiida_slhmc.potentials"


class Remembering:
    """Remember the last evaluations of a potential, which is a pure function.

    :param potential: the potential.
    :param size: how many to remember.
    """

    def __init__(self, potential: Potential, size: int = 64):
        self.potential = potential
        self.size = size
        self._known: OrderedDict[bytes, Evaluation] = OrderedDict()

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        key = np.asarray(positions).tobytes() + np.asarray(cell).tobytes()
        if key not in self._known:
            self._known[key] = self.potential.evaluate(positions, cell)
            if len(self._known) > self.size:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def _foreign(engine: str) -> EntryPoint | None:
    return next((point for point in entry_points(group=GROUP) if point.name == engine), None)


def engine_version(engine: str) -> str:
    """Return the version of the package behind an engine.

    :param engine: its name.
    """
    if engine in ENGINES:
        return calculators.version(ENGINES[engine][0]) or "unknown"
    point = _foreign(engine)
    return point.dist.version if point is not None and point.dist is not None else "unknown"


def build_potential(
    spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, *, log: str | None = None
) -> Potential:
    """Return the potential of a specification for one composition.

    :param spec: a level of theory, or ``{"engine": "mace", "file": path}``.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: file of the engine's own output, if it has any.
    :raises TaskError: if it cannot be had.
    """
    engine = need(spec, "engine", "the potential")
    potential: Potential
    if engine in ENGINES:
        module, _, name = ENGINES[engine][1].partition(":")
        builder = getattr(importlib.import_module(f"aiida_slhmc.worker.engines.{module}"), name)
        potential = builder(spec, numbers, pbc, log)
        return potential
    point = _foreign(engine)
    if point is None:
        known = ", ".join(sorted({*ENGINES, *(point.name for point in entry_points(group=GROUP))}))
        raise TaskError("bad_input", f"there is no engine '{engine}' here; known are: {known}.")
    try:
        potential = point.load()(spec, numbers, pbc)
    except ImportError as error:
        raise TaskError("missing_dependency", f"the engine '{engine}' cannot be imported here: {error}.") from error
    return potential
