"""The port of a target: what an engine must tell before it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class Target:
    """Describe an engine that labels. Third parties add one through the entry points ``aiida_slhmc.targets``."""

    #: Name of the engine.
    name: ClassVar[str] = ""
    #: Functionals that it has; empty: not its business.
    functionals: ClassVar[tuple[str, ...]] = ()
    #: Functional if none is given.
    default_functional: ClassVar[str] = ""
    #: Parameters with their defaults: all of them are written into the level of theory.
    defaults: ClassVar[dict[str, Any]] = {}
    #: Parameters that have no default.
    required: ClassVar[tuple[str, ...]] = ()
    #: Where to label if nothing else is said: ``local`` for an engine that a process keeps warm, else ``job``.
    default_executor: ClassVar[str] = "local"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: ``engine``, ``functional``, ``parameters``.
        :raises ValueError: with one sentence.
        """
        if self.functionals and level["functional"] not in self.functionals:
            known = ", ".join(self.functionals)
            raise ValueError(f"{self.name} has no functional '{level['functional']}' here; it has {known}.")
        known_parameters = {*self.defaults, *self.required}
        unknown = sorted(set(level["parameters"]) - known_parameters)
        if unknown:
            known = ", ".join(sorted(known_parameters)) or "none"
            raise ValueError(f"{self.name} has no parameter '{unknown[0]}'; it has {known}.")
        missing = [key for key in self.required if key not in level["parameters"]]
        if missing:
            raise ValueError(f"{self.name} needs the parameter '{missing[0]}'.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: normalised level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        self.check(level)

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether a level of theory gives a stress that can be trusted.

        :param level: normalised level of theory.
        """
        return True


def positive(level: Mapping[str, Any], *names: str) -> None:
    """Check that parameters are positive numbers.

    :param level: normalised level of theory.
    :param names: of the parameters.
    :raises ValueError: with one sentence.
    """
    for name in names:
        value = level["parameters"][name]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
            raise ValueError(f"the parameter '{name}' must be a number greater than 0, not {value!r}.")
