"""Teachers: potentials that play the target functional, declared as what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.foundations import resolve_foundation
from aiida_slhmc.worker.weights import ENDING, find, keep

from .port import Target, atom_in_a_box

#: SHA-256 of the weights of SevenNet-MF-0 (sevenn 0.13.0).
SEVENNET_WEIGHTS = "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class MaceTarget(Target):
    """Any MACE model as a teacher; the functional is what its user declares it to play.

    The level of theory holds the SHA-256 of the weights' file, never its path: a path, or the name of a shipped or a
    MACE-MP model, is turned into it, and the file is kept under that name for the computing side to find.
    """

    name = "mace"
    defaults = {
        "head": "",  # 'Default', or the only one there is
        "precision": "float64",
    }
    required = ("model",)
    requires = "worker"

    def complete(self, functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with every default written out, and the model by its hash.

        :param functional: what the model plays.
        :param parameters: as the user gives them: ``model`` may be a path or a name.
        :raises ValueError: if there is no such model.
        """
        complete = super().complete(functional, parameters)
        model = complete.get("model")
        if isinstance(model, (str, Path)) and not _SHA256.fullmatch(str(model)):
            try:
                complete["model"] = keep(resolve_foundation(model))
            except TaskError as error:
                raise ValueError(f"the parameter 'model' of the engine 'mace': {error}") from error
        return complete

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        if not level.get("functional"):
            raise ValueError(
                "the engine 'mace' needs 'functional': declare what the model stands for, such as 'MACE-MP-0 (PBE)'."
            )
        model, head = level["parameters"]["model"], level["parameters"]["head"]
        if not isinstance(model, str) or not _SHA256.fullmatch(model):
            raise ValueError(f"the parameter 'model' must be a path, a name or the SHA-256 of a model, not {model!r}.")
        if not isinstance(head, str):
            raise ValueError(f"the parameter 'head' must be the name of a head of the model, or empty, not {head!r}.")
        _precision(level)

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory itself, since a model knows no spin, and an atom without images.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        """
        return dict(level), atom_in_a_box(number, (12.0, 12.5, 13.0), pbc=False)

    def files(self, level: Mapping[str, Any]) -> dict[str, Path]:
        """Return the file of the weights, if this machine has it: a job takes it along.

        :param level: normalised level of theory.
        """
        digest = level["parameters"]["model"]
        try:
            return {f"{digest}{ENDING}": find(digest)}
        except TaskError:
            # The computing machine may have it.
            return {}


class SevenNetTarget(Target):
    """SevenNet-MF-0 as a teacher: its PBE or r2SCAN surface plays the target functional."""

    name = "sevennet"
    functionals = ("PBE", "r2SCAN")
    default_functional = "r2SCAN"
    # In float32 the total energy is rough by 1e-7 eV (6 atoms).
    defaults = {"model": "SevenNet-MF-0", "weights": SEVENNET_WEIGHTS, "precision": "float64"}
    # Its environment is not AiiDA's: it needs another e3nn than MACE.
    default_executor = "job"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        model = level["parameters"]["model"]
        if model != "SevenNet-MF-0":
            raise ValueError(
                f"the parameter 'model' must be SevenNet-MF-0, the one with PBE and r2SCAN, not {model!r}."
            )
        _precision(level)


def _precision(level: Mapping[str, Any]) -> None:
    precision = level["parameters"]["precision"]
    if precision not in ("float64", "float32"):
        raise ValueError(f"the parameter 'precision' must be float64 or float32, not {precision!r}.")
