"""Files of labels: extended XYZ at full precision, and what VASP leaves. Needs no profile."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from aiida_slhmc.analysis.files import KEYS, READ_ERRORS, find_property

from .labels import as_stored

#: Format by the end of a file's name, and ASE's name of its reader.
EXTXYZ, VASPRUN, OUTCAR = "extxyz", "vasp-xml", "vasp-out"
#: Files of a folder of VASP's, the exact one first: an OUTCAR has positions to 5 decimals.
VASP_FILES = {"vasprun.xml": VASPRUN, "OUTCAR": OUTCAR}
#: What an OUTCAR says of its iterations: that EDIFF is reached it says of the last one in any case.
LIMIT = re.compile(r"^\s*NELM\s*=\s*(\d+)", re.MULTILINE)
ITERATION = re.compile(r"Iteration\s+(\d+)\(\s*(\d+)\)")
#: Forces beyond this (eV/Å) are no label but another unit.
MAX_FORCE = 500.0


@dataclass(frozen=True)
class Labelled:
    """Hold one labelled structure.

    :param frame: arrays of one frame, as :class:`aiida_slhmc.data.FramesData` describes them; the structure's floats as
        AiiDA stores them.
    :param level_hash: content hash of the level of theory that the file states; None: none.
    """

    frame: dict[str, NDArray[Any]] = field(repr=False)
    level_hash: str | None = None

    @property
    def energy(self) -> float:
        """Return the energy in eV."""
        return float(self.frame["energies"][0])


def locate(path: Path) -> tuple[Path, str]:
    """Return the file that holds the labels, and its format.

    :param path: a file, or a folder of VASP's.
    :raises ValueError: with one sentence.
    """
    if path.is_dir():
        for name, kind in VASP_FILES.items():
            if (path / name).is_file():
                return path / name, kind
        raise ValueError(f"the folder '{path}' holds neither vasprun.xml nor OUTCAR.")
    if not path.is_file():
        raise ValueError(f"there is no file '{path}'.")
    name = path.name.lower()
    if name.endswith((".xyz", ".extxyz")):
        return path, EXTXYZ
    if name.endswith(".xml"):
        return path, VASPRUN
    if "outcar" in name:
        return path, OUTCAR
    raise ValueError(f"'{path}' is of no known kind: give .xyz or .extxyz, vasprun.xml, OUTCAR, or a folder of VASP's.")


def read_labels(path: Path, kind: str, keys: Mapping[str, str] | None = None, name: str = "") -> list[Labelled]:
    """Read all labels of a file.

    :param path: the file.
    :param kind: its format: extxyz, vasp-xml or vasp-out.
    :param keys: where extended XYZ keeps ``energy``, ``forces``, ``stress``, in place of :data:`KEYS`.
    :param name: of the file, for messages.
    :raises ValueError: with one sentence that names the file, the frame and what is wrong.
    """
    where = f"'{name or path}'"
    try:
        images = read(path, index=":", format=kind)
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{where} cannot be read as {kind}: {reason}.") from error
    if kind == VASPRUN:
        _check_convergence(path, where)
    if kind == OUTCAR:
        _check_outcar(path, where)
    if not images:
        raise ValueError(f"{where} holds no structure.")
    chosen = {what: (keys[what],) if keys and keys.get(what) else names for what, names in KEYS.items()}
    return [_labelled(atoms, f"frame {number} of {where}", kind, chosen) for number, atoms in enumerate(images)]


def _labelled(atoms: Atoms, where: str, kind: str, keys: Mapping[str, tuple[str, ...]]) -> Labelled:
    found = {what: find_property(atoms, names) for what, names in keys.items()}
    if kind != EXTXYZ:
        # Of VASP's two energies, that extrapolated to zero smearing has other forces.
        found["energy"] = find_property(atoms, ("free_energy",))
    for what in ("energy", "forces"):
        if found[what] is None:
            named = " or ".join(f"'{key}'" for key in keys[what])
            hint = f" under {named}; say under which with --{what}-key" if kind == EXTXYZ else ""
            raise ValueError(f"{where} has no {what}{hint}.")
    try:
        energy = float(np.asarray(found["energy"], dtype=np.float64).reshape(()))
        forces = np.asarray(found["forces"], dtype=np.float64)
        stress = None if found["stress"] is None else np.asarray(found["stress"], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} has an energy, forces or a stress that are no numbers: {error}.") from error
    n_atoms = len(atoms)
    if n_atoms == 0:
        raise ValueError(f"{where} has no atoms.")
    if forces.shape != (n_atoms, 3):
        raise ValueError(f"{where} has forces of shape {forces.shape} for {n_atoms} atoms.")
    if stress is not None:
        if stress.size not in (6, 9):
            raise ValueError(f"{where} has a stress of {stress.size} numbers; 6 or 9 are wanted.")
        stress = voigt_6_to_full_3x3_stress(stress) if stress.size == 6 else stress.reshape(3, 3)
    numbers = np.asarray(atoms.numbers, dtype=np.int64)
    if (numbers < 1).any():
        raise ValueError(f"{where} has an atom of no element.")
    positions, cell = atoms.get_positions(), np.asarray(atoms.cell[:], dtype=np.float64)
    if atoms.pbc.any() and abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError(f"{where} is periodic, but its cell has no volume.")
    values = {"energy": energy, "forces": forces, "positions": positions, "cell": cell}
    for what, value in values.items() if stress is None else {**values, "stress": stress}.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{where} has a value in '{what}' that is not finite.")
    if np.abs(forces).max() > MAX_FORCE:
        raise ValueError(f"{where} has a force of {np.abs(forces).max():.0f} eV/Å: check the unit, or leave it out.")
    frame = {
        "numbers": numbers[None],
        "positions": as_stored(positions)[None],
        "cells": as_stored(cell)[None],
        "pbc": np.asarray(atoms.pbc, dtype=bool)[None],
        "energies": np.array([energy]),
        "forces": forces[None],
        "stresses": (np.full((3, 3), np.nan) if stress is None else stress)[None],
    }
    stated = atoms.info.get("level_hash")
    return Labelled(frame, None if stated is None else str(stated))


def _check_convergence(path: Path, where: str) -> None:
    """Check that every self-consistent field of a vasprun.xml ended before its last iteration.

    :param path: the file.
    :param where: its name, for messages.
    :raises ValueError: with one sentence.
    """
    limit, step = None, 0
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "i" and element.attrib.get("name") == "NELM" and element.text:
                limit = int(element.text)
            elif element.tag == "calculation":
                steps = len(element.findall("scstep"))
                if limit is not None and steps >= limit:
                    raise ValueError(f"frame {step} of {where} is not converged: its {steps} iterations are NELM.")
                step += 1
                element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{where} is cut short ({error}): run VASP to its end, or take the OUTCAR.") from error


def _check_outcar(path: Path, where: str) -> None:
    """Check that every self-consistent field of an OUTCAR ended before its last iteration.

    :param path: the file.
    :param where: its name, for messages.
    :raises ValueError: with one sentence.
    """
    text = path.read_text(errors="replace")
    limit = LIMIT.search(text)
    for step, iteration in ITERATION.findall(text):
        if limit is not None and int(iteration) >= int(limit.group(1)):
            raise ValueError(f"frame {int(step) - 1} of {where} is not converged: its {iteration} iterations are NELM.")


def format_frame(frame: Mapping[str, NDArray[Any]], info: Mapping[str, str]) -> str:
    """Return one frame as extended XYZ, every float with all its digits (ASE's writer keeps eight decimals).

    :param frame: arrays of one frame.
    :param info: further keys; their values must hold no quote.
    """

    def join(values: Any) -> str:
        return " ".join(repr(float(value)) for value in np.ravel(values))

    numbers, positions, forces = frame["numbers"][0], frame["positions"][0], frame["forces"][0]
    comment = [] if not frame["pbc"][0].any() and not frame["cells"][0].any() else [
        f'Lattice="{join(frame["cells"][0])}"'
    ]  # fmt: skip
    energy = repr(float(frame["energies"][0]))
    comment += [
        "Properties=species:S:1:pos:R:3:forces:R:3",
        f"energy={energy}",
        f"free_energy={energy}",
    ]
    if np.isfinite(frame["stresses"][0]).all():
        comment.append(f'stress="{join(frame["stresses"][0].T)}"')
    comment.append('pbc="' + " ".join("T" if flag else "F" for flag in frame["pbc"][0]) + '"')
    comment += [f'{key}="{value}"' for key, value in info.items()]
    rows = [
        f"{chemical_symbols[number]} {join(position)} {join(force)}"
        for number, position, force in zip(numbers, positions, forces, strict=True)
    ]
    return "\n".join([str(len(numbers)), " ".join(comment), *rows]) + "\n"
