"""Isolated atoms: what is labelled for the reference energies, and the energies by element."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction
from ase.data import atomic_numbers

from aiida_slhmc.data import FramesData
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.registry import get_target

from . import base

#: Beginning of the names of outputs and inputs, before the symbol.
ATOM, LEVEL = "atom_", "level_"


def symbols(structure: orm.StructureData) -> list[str]:
    """Return the elements of a structure in alphabetical order.

    :param structure: the structure.
    """
    return sorted(set(structure.get_ase().get_chemical_symbols()))


@calcfunction
def isolated_atoms(structure: orm.StructureData, level: orm.Dict) -> Any:
    """Return the structure and the level of theory for the isolated atom of each element.

    :param structure: whose elements are wanted.
    :param level: level of theory of the target.
    :returns: ``atom_<symbol>`` and ``level_<symbol>``.
    """
    target = get_target(level.get_dict()["engine"])
    outputs: dict[str, orm.Data] = {}
    for symbol in symbols(structure):
        number = atomic_numbers[symbol]
        try:
            own, atom = target.isolated_atom(level.get_dict(), number)
            complete = normalise(own)
        except ValueError as error:
            return base.exit_code("bad_input", str(error))
        outputs[f"{ATOM}{symbol}"] = orm.StructureData(ase=atom)
        outputs[f"{LEVEL}{symbol}"] = orm.Dict(complete)
    return outputs


@calcfunction
def isolated_energies(**labels: FramesData) -> orm.Dict | ExitCode:
    """Return the energies of isolated atoms in eV by symbol.

    :param labels: one label an element, by its symbol.
    """
    return orm.Dict({symbol: label.energy for symbol, label in labels.items()})
