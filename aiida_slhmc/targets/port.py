"""The port of a target: what an engine must tell before it is run. Needs neither AiiDA nor torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms


class Target:
    """Describe an engine that labels. Third parties derive from it: docs/how-to/write-a-target.md."""

    #: Name of the engine.
    name: ClassVar[str] = ""
    #: Functionals that it has; empty: not its business.
    functionals: ClassVar[tuple[str, ...]] = ()
    #: Functional if none is given.
    default_functional: ClassVar[str] = ""
    #: Parameters with their defaults: all of them are written into the level of theory.
    defaults: ClassVar[Mapping[str, Any]] = {}
    #: Parameters that have no default.
    required: ClassVar[tuple[str, ...]] = ()
    #: Where to label if nothing else is said: ``local`` for an engine that a process keeps warm, else ``job``.
    default_executor: ClassVar[str] = "local"
    #: Extra of this package that the computing machine needs; empty: none.
    requires: ClassVar[str] = ""

    def complete(self, functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with every default written out.

        :param functional: of the level of theory.
        :param parameters: as the user gives them.
        """
        return {**self.defaults, **parameters}

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory, without looking at a structure.

        :param level: ``engine``, ``functional``, ``parameters``.
        :raises ValueError: with one sentence.
        """
        functional, parameters = level.get("functional"), level.get("parameters", {})
        if self.functionals and functional not in self.functionals:
            known = ", ".join(self.functionals)
            raise ValueError(f"the engine '{self.name}' has no functional '{functional}'; it has {known}.")
        names = {*self.defaults, *self.required}
        unknown = sorted(set(parameters) - names)
        if unknown:
            close = get_close_matches(unknown[0], names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            known = ", ".join(sorted(names)) or "none"
            raise ValueError(f"the engine '{self.name}' has no parameter '{unknown[0]}'; it has {known}.{hint}")
        missing = [key for key in (*self.required, *self.defaults) if key not in parameters]
        if missing:
            raise ValueError(f"the engine '{self.name}' needs the parameter '{missing[0]}'.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: normalised level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        self.check(level)

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory and the structure that give the energy of an isolated atom, with its spin.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        :raises ValueError: with one sentence, if the engine cannot describe an isolated atom.
        """
        raise ValueError(
            f"the engine '{self.name}' has no isolated atoms: choose another policy for e0, such as 'estimated'."
        )

    def files(self, level: Mapping[str, Any]) -> Mapping[str, Path]:
        """Return the files of this machine that a job takes along, by the names that they get in its folder.

        :param level: normalised level of theory, which pins their content.
        """
        return {}

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether a level of theory gives a stress that can be trusted.

        :param level: normalised level of theory.
        """
        return True

    def names_code(self, level: Mapping[str, Any]) -> bool:
        """Return whether the parameters name code or commands, so that computing with a foreign level would run them.

        :param level: normalised level of theory.
        """
        return False


def atom_in_a_box(number: int, edges: tuple[float, float, float], *, pbc: bool = True) -> Atoms:
    """Return one atom in the middle of a box.

    :param number: atomic number.
    :param edges: of the box in Å; three different ones break the symmetry that would hold an open shell apart.
    :param pbc: whether the box is repeated.
    """
    middle = [tuple(0.5 * edge for edge in edges)]
    return Atoms(numbers=[number], positions=middle, cell=edges, pbc=pbc)


def positive(level: Mapping[str, Any], *names: str, whole: bool = False) -> None:
    """Check that parameters are positive numbers.

    :param level: normalised level of theory.
    :param names: of the parameters.
    :param whole: whether they must be integers.
    :raises ValueError: with one sentence.
    """
    kinds = (int,) if whole else (int, float)
    kind = "an integer" if whole else "a number"
    for name in names:
        value = level["parameters"][name]
        if not isinstance(value, kinds) or isinstance(value, bool) or not value > 0:
            raise ValueError(f"the parameter '{name}' must be {kind} greater than 0, not {value!r}.")
