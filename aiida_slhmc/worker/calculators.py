"""ASE calculators of the engines, one a level of theory and process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import TaskError

#: Names of CHGNet's pretrained weights by functional.
CHGNET_WEIGHTS = {"PBE": "0.3.0", "r2SCAN": "r2scan"}
#: GPAW's names of the functionals.
GPAW_FUNCTIONALS: dict[str, Any] = {
    "PBE": "PBE",
    "r2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN",
    "HSE06": {"name": "HSE06", "backend": "pw"},
}

_CACHE: dict[str, Any] = {}


def version(package: str) -> str:
    """Return the version of an installed package.

    :param package: its name.
    """
    return importlib.metadata.version(package)


def _missing(package: str, extra: str, error: ImportError) -> TaskError:
    return TaskError(
        "missing_dependency",
        f"the engine needs the package '{package}', which is not installed here ({error}): {extra}.",
    )


def chgnet(level: Mapping[str, Any]) -> Any:
    """Return CHGNet's calculator: pretrained on PBE (MPtrj), or transferred to r2SCAN.

    :param level: level of theory.
    :raises TaskError: if the package is missing or the functional is not one of the two.
    """
    functional = level["functional"]
    if functional not in CHGNET_WEIGHTS:
        raise TaskError("bad_input", f"CHGNet has no functional '{functional}'; it has {', '.join(CHGNET_WEIGHTS)}.")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from chgnet.model.dynamics import CHGNetCalculator
            from chgnet.model.model import CHGNet

            model = CHGNet.load(model_name=CHGNET_WEIGHTS[functional], use_device="cpu", verbose=False)
            return CHGNetCalculator(model=model, use_device="cpu", on_isolated_atoms="ignore")
    except ImportError as error:
        raise _missing("chgnet", "pip install 'aiida-slhmc[worker]'", error) from error


def gpaw(level: Mapping[str, Any], log: str = "gpaw.txt") -> Any:
    """Return GPAW's calculator: plane waves, fixed k-points, no symmetry, no spin.

    :param level: level of theory with ``parameters``: cutoff (eV), kpoints, smearing (eV), energy_convergence
        (eV/electron), max_iterations.
    :param log: file of GPAW's own output.
    :raises TaskError: if GPAW is missing.
    """
    parameters = level["parameters"]
    try:
        from gpaw import GPAW, PW
    except ImportError as error:
        raise _missing("gpaw", "see docs/how-to/true-dft.md", error) from error
    return GPAW(
        mode=PW(parameters["cutoff"]),
        xc=GPAW_FUNCTIONALS[level["functional"]],
        kpts=tuple(parameters["kpoints"]),
        occupations={"name": "methfessel-paxton", "order": 0, "width": parameters["smearing"]},
        convergence={"energy": parameters["energy_convergence"]},
        maxiter=parameters["max_iterations"],
        symmetry="off",
        spinpol=False,
        txt=log,
    )


def ase_calculator(level: Mapping[str, Any]) -> Any:
    """Return any calculator that ASE knows by name.

    :param level: level of theory with ``parameters``: calculator, arguments.
    :raises TaskError: if ASE does not know it, or it does not take the arguments.
    """
    from ase.calculators.calculator import get_calculator_class

    parameters = level["parameters"]
    try:
        return get_calculator_class(parameters["calculator"])(**parameters.get("arguments", {}))
    except (ImportError, KeyError, AssertionError, TypeError, ValueError) as error:
        raise TaskError("bad_input", f"ASE cannot make the calculator '{parameters['calculator']}': {error}.") from error


ENGINES: dict[str, Callable[[Mapping[str, Any]], Any]] = {"chgnet": chgnet, "gpaw": gpaw, "ase": ase_calculator}


def calculator(level: Mapping[str, Any]) -> Any:
    """Return the calculator of a level of theory, made once a process.

    :param level: level of theory.
    :raises TaskError: if the engine is unknown or cannot be had.
    """
    key = json.dumps(level, sort_keys=True)
    if key not in _CACHE:
        engine = level["engine"]
        if engine not in ENGINES:
            raise TaskError("bad_input", f"there is no engine '{engine}' here; known are {', '.join(ENGINES)}.")
        _CACHE[key] = ENGINES[engine](level)
    return _CACHE[key]


def forget() -> None:
    """Forget all calculators, so that the next one starts afresh."""
    _CACHE.clear()


def full_stress(stress: Any) -> np.ndarray:
    """Return a stress as a full symmetric matrix.

    :param stress: (6,) in ASE's Voigt order (xx, yy, zz, yz, xz, xy) or (3, 3), in eV/Å³.
    :returns: (3, 3) in eV/Å³.
    """
    from ase.stress import voigt_6_to_full_3x3_stress

    value = np.asarray(stress, dtype=np.float64)
    return value if value.shape == (3, 3) else np.asarray(voigt_6_to_full_3x3_stress(value))
