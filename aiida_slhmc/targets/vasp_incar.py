"""The INCAR of a label by VASP: which tag belongs where. Pure functions, without AiiDA."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.units import Bohr, Rydberg


def _names(text: str) -> frozenset[str]:
    """Return the names in a text.

    :param text: names with spaces between.
    """
    return frozenset(text.split())


#: Tags that make the functional what it is. They cannot be changed: another mixing is another functional.
FUNCTIONALS: dict[str, dict[str, Any]] = {
    "PBE": {"GGA": "PE"},
    "r2SCAN": {"METAGGA": "R2SCAN"},
    # 25 % of exact exchange within 1/0.2 Å. The grid of the exchange is the one whose forces are the gradient.
    "HSE06": {"GGA": "PE", "LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2, "PRECFOCK": "Normal"},
}

#: Tags of the energy surface that are the same for every functional, unless ``incar`` of the level says otherwise.
COMMON: dict[str, Any] = {
    # Gradients within the spheres: r2SCAN is wrong without, PBE and HSE06 are off by meV an atom.
    "LASPH": True,
    # Projectors in real space save time in large cells and cost meV; their error moves with the atoms.
    "LREAL": False,
    "ADDGRID": False,
}

#: How each functional converges. No part of the level of theory: the ground state does not depend on it.
CONVERGENCE: dict[str, dict[str, Any]] = {
    "PBE": {"ALGO": "Normal", "NELM": 120},
    # Density mixing stalls with the kinetic-energy density; minimising all bands together does not.
    "r2SCAN": {"ALGO": "All", "NELM": 200},
    "HSE06": {"ALGO": "All", "TIME": 0.4, "NELM": 200},
}

#: What is tried when the electrons did not converge, in this order. An algorithm that just failed is left out.
REMEDIES: tuple[dict[str, Any], ...] = (
    {"ALGO": "All", "TIME": 0.3, "NELM": 300},
    {"ALGO": "Damped", "TIME": 0.2, "NELM": 400},
    {"ALGO": "Normal", "AMIX": 0.1, "BMIX": 0.001, "NELM": 400},
)

#: Tags that say how the electrons are brought to convergence: the only ones that a remedy may touch.
MIXING = _names(
    "ALGO NELM NELMIN NELMDL TIME AMIX BMIX AMIN AMIX_MAG BMIX_MAG IMIX MAXMIX WC MIXPRE INIMIX LMIXTAU LMAXMIX "
    "LDIAG LSUBROT"
)

#: Tags that say how the machine is used, or what is written beside.
MACHINE = _names(
    "NCORE NPAR KPAR NSIM LPLANE LSCALAPACK LSCALU LSCAAWARE NCSHMEM MAXMEM LASYNC NWRITE LORBIT NEDOS LFOCKACE "
    "NBLOCK_FOCK"
)

#: Tags that one may give beside the level of theory, in ``incar`` of the target's options.
RUN_ONLY = MIXING | MACHINE

#: Algorithms that look for the electrons' ground state.
ALGORITHMS = ("normal", "fast", "veryfast", "all", "damped", "conjugate")

#: Tags that follow from a parameter of the level of theory.
FROM_PARAMETER = {
    "ENCUT": "cutoff",
    "PREC": "precision",
    "EDIFF": "ediff",
    "ISMEAR": "smearing",
    "SIGMA": "smearing",
    "ISPIN": "spin",
    **dict.fromkeys(("NGX", "NGY", "NGZ"), "grid"),
    **dict.fromkeys(("NGXF", "NGYF", "NGZF"), "fine_grid"),
}

#: One calculation of one structure, in no symmetry but that of k and -k.
SINGLE_POINT: dict[str, Any] = {"NSW": 0, "IBRION": -1, "ISIF": 2, "ISYM": 0, "ISTART": 0, "LWAVE": False,
                                "LCHARG": False}  # fmt: skip

#: Tags that would make it something else than one self-consistent calculation, or one whose mesh moves with the cell.
FORBIDDEN = {
    **dict.fromkeys(SINGLE_POINT, "is set by this target"),
    **dict.fromkeys(_names("KSPACING KGAMMA"), "would change the mesh of k-points with the cell: give 'kpoints'"),
    **dict.fromkeys(
        _names(
            "POTIM TEBEG TEEND MDALGO SMASS ML_LMLFF EDIFFG LEPSILON LCALCEPS LOPTICS LPEAD NFREE IALGO ICHARG "
            "ICORELEVEL LCHIMAG IMAGES SPRING"
        ),
        "does not belong to a calculation of one structure",
    ),
    **dict.fromkeys(_names("LNONCOLLINEAR LSORBIT"), "is not supported: labels are collinear"),
    **dict.fromkeys(_names("SYMPREC NKRED NKREDX NKREDY NKREDZ"), "makes no sense without symmetry"),
}


def upper(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return tags with their names as VASP writes them.

    :param tags: by name, in any case.
    """
    return {str(name).upper(): value for name, value in tags.items()}


def surface(functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags that make the energy surface: they are the same in every attempt of every label.

    :param functional: of the level of theory.
    :param parameters: of the normalised level of theory.
    """
    tags = {
        "ENCUT": float(parameters["cutoff"]),
        "PREC": parameters["precision"],
        "EDIFF": float(parameters["ediff"]),
        "ISMEAR": 0,
        "SIGMA": float(parameters["smearing"]),
        "ISPIN": 2 if parameters["spin"] else 1,
    }
    for name, letter in (("grid", ""), ("fine_grid", "F")):
        if parameters[name] is not None:
            tags |= {f"NG{axis}{letter}": int(number) for axis, number in zip("XYZ", parameters[name], strict=True)}
    # The functional's own tags stand in the level's 'incar' as well; here they cannot be lost.
    return {**tags, **FUNCTIONALS[functional], **upper(parameters["incar"])}


def remedy(functional: str, run: Mapping[str, Any], failures: int) -> dict[str, Any]:
    """Return how to converge after the electrons did not.

    :param functional: of the level of theory.
    :param run: the user's run-only tags.
    :param failures: how often the electrons did not converge before.
    :returns: tags of :data:`RUN_ONLY`.
    """
    tags = {**CONVERGENCE[functional], **upper(run)}
    if not failures:
        return tags
    steps = int(tags["NELM"])
    others = [entry for entry in REMEDIES if entry["ALGO"].lower() != str(tags["ALGO"]).lower() or "AMIX" in entry]
    chosen = others[min(failures, len(others)) - 1]
    tags = {**tags, **chosen, "NELM": max(int(chosen["NELM"]), steps)}
    return tags


def incar(
    functional: str,
    parameters: Mapping[str, Any],
    run: Mapping[str, Any],
    *,
    failures: int = 0,
    keep_wavefunctions: bool = False,
    restart: bool = False,
) -> dict[str, Any]:
    """Return the whole INCAR of one attempt.

    :param functional: of the level of theory.
    :param parameters: of the normalised level of theory.
    :param run: the user's run-only tags.
    :param failures: how often the electrons did not converge before.
    :param keep_wavefunctions: write a WAVECAR for the next label to start from.
    :param restart: start from a WAVECAR. ISTART is 1: at the same cut-off in the new cell, not with the old basis.
    """
    tags = {**surface(functional, parameters), **SINGLE_POINT, **remedy(functional, run, failures)}
    return {**tags, "ISTART": 1 if restart else 0, "LWAVE": bool(keep_wavefunctions)}


def check_surface_tags(functional: str, tags: Mapping[str, Any]) -> None:
    """Check the tags that a user adds to the level of theory.

    :param functional: of the level of theory.
    :param tags: ``incar`` of the level's parameters.
    :raises ValueError: with one sentence that names the tag.
    """
    _check_names(tags, "incar")
    fixed = {name for table in FUNCTIONALS.values() for name in table}
    for name, value in tags.items():
        if name in FROM_PARAMETER:
            raise ValueError(f"the tag {name} follows from the parameter '{FROM_PARAMETER[name]}': set that.")
        if name in RUN_ONLY:
            raise ValueError(
                f"the tag {name} does not change the energy surface, so that it is no part of the level of theory: "
                "give it in 'incar' of the target's options."
            )
        if name in fixed and FUNCTIONALS[functional].get(name) != value:
            raise ValueError(f"the tag {name} = {value!r} would make of {functional} another functional: leave it out.")


def check_run_tags(tags: Any) -> dict[str, Any]:
    """Check the tags that a user gives beside the level of theory.

    :param tags: ``incar`` of the target's options.
    :returns: the same with names as VASP writes them.
    :raises ValueError: with one sentence that names the tag.
    """
    if not isinstance(tags, Mapping):
        raise ValueError(f"'incar' of the target's options must be a mapping of INCAR tags, not {tags!r}.")
    tags = upper(tags)
    for name in tags:
        if name in FROM_PARAMETER:
            raise ValueError(
                f"the tag {name} in the target's options changes the energy surface: set the parameter "
                f"'{FROM_PARAMETER[name]}' of the level of theory."
            )
    _check_names(tags, "incar of the target's options")
    for name in sorted(set(tags) - RUN_ONLY):
        raise ValueError(
            f"the tag {name} in the target's options may change the energy surface: give it in 'incar' of the level's "
            f"parameters; beside the level may stand {', '.join(sorted(RUN_ONLY))}."
        )
    if str(tags.get("ALGO", "Normal")).lower() not in ALGORITHMS:
        known = ", ".join(name.capitalize() for name in ALGORITHMS)
        raise ValueError(f"ALGO = {tags['ALGO']} does not look for the electrons' ground state; choose among {known}.")
    steps = tags.get("NELM", 1)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"NELM must be an integer greater than 0, not {steps!r}.")
    return tags


def _check_names(tags: Mapping[str, Any], where: str) -> None:
    """Refuse tags that nobody knows, and those that would make it another kind of calculation.

    :param tags: by upper-case name.
    :param where: where they stand, for the message.
    :raises ValueError: with one sentence that names the tag.
    """
    for name, value in tags.items():
        if name in FORBIDDEN:
            raise ValueError(f"the tag {name} in {where} {FORBIDDEN[name]}.")
        if not isinstance(value, (bool, int, float, str, list)):
            raise ValueError(f"the tag {name} in {where} must be a number, a text or a list, not {value!r}.")
    try:
        from parsevasp.constants import incar_tags
    except ImportError:
        # Comes with aiida-vasp; without it nothing is submitted.
        return
    for name in tags:
        if name.lower() not in incar_tags:
            raise ValueError(f"the tag {name} in {where} is not one that VASP knows.")


def fft_grid(cell: Any, cutoff: float, precision: str) -> list[int]:
    """Return the smallest grid that holds the products of plane waves as VASP's PREC asks for.

    VASP manual, PREC and NGX: all wave vectors up to twice (Accurate) or 3/2 (Normal) of the cut-off's.

    :param cell: (3, 3) in Å.
    :param cutoff: in eV.
    :param precision: ``Accurate`` or ``Normal``.
    :returns: NGX, NGY, NGZ, whose factors are 2, 3, 5 and 7.
    """
    factor = 4.0 if precision == "Accurate" else 3.0
    edges = np.linalg.norm(np.asarray(cell, dtype=float), axis=1) / Bohr
    waves = math.sqrt(cutoff / Rydberg) * edges / (2 * math.pi)
    return [_friendly(int(factor * number + 0.5)) for number in waves]


def _friendly(number: int) -> int:
    """Return the next even number whose factors are 2, 3, 5 and 7.

    :param number: at least 1.
    """
    candidate = number + number % 2
    while True:
        rest = candidate
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 2


def check_grid(name: str, grid: Any, least: Sequence[int] | None = None) -> None:
    """Check a fixed grid.

    :param name: of the parameter.
    :param grid: three numbers of points, or None.
    :param least: what the structure needs.
    :raises ValueError: with one sentence.
    """
    if grid is None:
        return
    counts = isinstance(grid, (list, tuple)) and len(grid) == 3
    if not counts or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in grid):
        raise ValueError(f"the parameter '{name}' must be three positive integers, or null, not {grid!r}.")
    if least is not None and any(n < needed for n, needed in zip(grid, least, strict=True)):
        raise ValueError(f"the parameter '{name}' {list(grid)} is too coarse for the cell: it needs {list(least)}.")
