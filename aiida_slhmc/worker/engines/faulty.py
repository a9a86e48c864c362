"""An engine that fails on purpose, around any other: what the failure policy is tested with."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker.errors import TaskError, need
from aiida_slhmc.worker.potentials import build_potential

#: What can go wrong.
FAULTS = (
    "failed",
    "unconverged",
    "timeout",
    "exit",
    "nan_energy",
    "nan_forces",
    "zero_forces",
    "huge_forces",
    "no_stress",
)
#: Which labels it goes wrong at.
SELECTIONS = ("always", "random", "structure", "calls")

#: Exit status of the fault ``exit``.
EXIT_STATUS = 13


class FaultyPotential:
    """Evaluate another engine, and fail where the level of theory says so.

    The parameters of the level of theory:

    ``level``
        The level of theory that answers where nothing fails.
    ``fault``
        What goes wrong: ``failed`` (the engine raises an error), ``unconverged`` (it says so), ``timeout`` (it takes
        ``seconds`` longer, then answers rightly: a job's wall time runs out), ``exit`` (the process ends with status 13
        and no result: for jobs alone, since locally it ends the caller), and wrong numbers without any error:
        ``nan_energy``, ``nan_forces``, ``zero_forces`` (the energy is right), ``huge_forces`` (1000 eV/Å on the first
        atom). ``no_stress`` is no failure: the stress is withheld, as a hybrid's where the engine has none.
    ``select``
        At which labels: ``always``; ``random`` (with ``probability``, drawn from ``seed`` and the structure: one
        structure always has the same fate, in every process); ``structure`` (where no atom is further than ``within``
        from ``positions``); ``calls`` (by number over all processes, the first one is 1: ``calls: [2, 3]``; needs
        ``state``).
    ``times``
        How often each structure that is selected fails before it is answered; 0: for ever (needs ``state`` otherwise).
        Not for ``calls``.
    ``state``
        Folder for what must be remembered between processes; must exist; empty: nothing is.

    Positions are compared after rounding to 1e-8 Å.

    :param level: level of theory.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: file of the inner engine's own output.
    :raises TaskError: ``bad_input``.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
        self.parameters = need(level, "parameters", "the level of theory")
        inner = need(self.parameters, "level", "the level of theory of the engine 'faulty'")
        self.fault = need(self.parameters, "fault", "the level of theory of the engine 'faulty'")
        self.inner = build_potential(inner, numbers, pbc, log=log)
        state = self.parameters.get("state")
        self.state = Path(state) if state else None
        if self.state is not None and not self.state.is_dir():
            raise TaskError("bad_input", f"the engine 'faulty' has no folder '{self.state}' to remember things in.")

    @property
    def scf_steps(self) -> int | None:
        """Return the iterations of the inner engine."""
        return getattr(self.inner, "scf_steps", None)

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure, or fail.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :raises TaskError: ``unconverged``.
        :raises RuntimeError: for the fault ``failed``.
        """
        if not self._strikes(np.asarray(positions), np.asarray(cell)):
            return self.inner.evaluate(positions, cell)
        if self.fault == "failed":
            raise RuntimeError("it failed on purpose")
        if self.fault == "unconverged":
            raise TaskError("unconverged", "the engine 'faulty' did not converge, on purpose.")
        if self.fault == "exit":
            os._exit(EXIT_STATUS)
        if self.fault == "timeout":
            time.sleep(float(self.parameters.get("seconds", 60.0)))
        right = self.inner.evaluate(positions, cell)
        if self.fault == "nan_energy":
            return replace(right, energy=float("nan"))
        if self.fault == "no_stress":
            return replace(right, stress=None)
        forces = np.array(right.forces)
        if self.fault == "nan_forces":
            forces[0, 0] = np.nan
        elif self.fault == "zero_forces":
            forces[:] = 0.0
        elif self.fault == "huge_forces":
            forces[0] = 1000.0
        return replace(right, forces=forces)

    def _strikes(self, positions: Array, cell: Array) -> bool:
        select = self.parameters.get("select", "always")
        if select == "calls":
            return self._count("call") in self.parameters["calls"]
        # Adding 0 turns -0 into 0.
        content = (np.round(positions, 8) + 0.0).tobytes() + (np.round(cell, 8) + 0.0).tobytes()
        if select == "random":
            digest = hashlib.sha256(content + str(self.parameters.get("seed", 0)).encode()).digest()
            if int.from_bytes(digest[:8], "big") / 2**64 >= float(self.parameters.get("probability", 0.5)):
                return False
        elif select == "structure":
            chosen = np.asarray(self.parameters["positions"], dtype=np.float64)
            if chosen.shape != positions.shape:
                return False
            within = float(self.parameters.get("within", 1e-6))
            if np.linalg.norm(positions - chosen, axis=1).max() > within:
                return False
        times = int(self.parameters.get("times", 0))
        return not times or self._count(hashlib.sha256(content).hexdigest()[:16]) <= times

    def _count(self, name: str) -> int:
        """Count an event over all processes, from 1 on.

        :param name: of the event.
        """
        if self.state is None:
            raise TaskError("bad_input", "the engine 'faulty' needs the parameter 'state', a folder, to count in.")
        number = 1
        while True:
            try:
                # Making a file that must not be there is one step, whoever else is counting.
                (self.state / f"{name}_{number}").touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number
