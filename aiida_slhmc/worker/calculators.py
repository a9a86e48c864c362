"""The engines' own objects: CHGNet's networks, GPAW's and ASE's calculators, imported when they are asked for."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import TaskError, need

#: Names of CHGNet's pretrained weights by functional.
CHGNET_WEIGHTS = {"PBE": "0.3.0", "r2SCAN": "r2scan"}
#: GPAW's names of the functionals.
GPAW_FUNCTIONALS: dict[str, Any] = {
    "PBE": "PBE",
    "r2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN",
    "HSE06": {"name": "HSE06", "backend": "pw"},
}
#: Lowest cut-off (eV) at which GPAW's stress is handed on. An incomplete basis of plane waves pulls the cell together
#: (Pulay stress): the pressure of rutile is 126 GPa off at 340 eV, 19 at 520, 2 at 700.
GPAW_STRESS_CUTOFF = 700.0
#: What to install for an engine.
INSTALL = {
    "chgnet": "pip install 'aiida-slhmc[worker]'",
    "mace": "pip install 'aiida-slhmc[worker]'",
    "sevennet": "run scripts/install_sevennet.sh, and label with the slhmc-worker of that environment as the code",
    "tblite": "pip install 'aiida-slhmc[tblite]'",
    "pyscf": "pip install 'aiida-slhmc[molecules]'",
    "gpaw": "run scripts/install_gpaw.sh, or pip install 'aiida-slhmc[dft]' where libxc and a C++ compiler are",
}

#: Networks that this process has loaded, by what they were asked for.
_CACHE: dict[str, Any] = {}


def version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed.

    :param package: its name.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def forget() -> None:
    """Forget all that was loaded, so that the next one starts afresh."""
    _CACHE.clear()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a library from talking: its prints and warnings are not ours."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def needs(package: str) -> Iterator[None]:
    """Turn a failed import into one sentence that says what to install.

    :param package: key of :data:`INSTALL`.
    :raises TaskError: ``missing_dependency``.
    """
    try:
        yield
    except ImportError as error:
        message = f"the engine '{package}' cannot be imported here ({error}): {INSTALL[package]}."
        raise TaskError("missing_dependency", message) from error


def chgnet_network(level: Mapping[str, Any]) -> Any:
    """Return CHGNet's network: pretrained on PBE (MPtrj), or transferred to r2SCAN; loaded once a process.

    B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023). The weights were trained in float32; in float64 they are the same
    function, evaluated without its rounding noise.

    :param level: level of theory with ``parameters``: precision ``float64`` (default) or ``float32``; weights, the
        SHA-256 that the file of the weights must have (default: not checked).
    :raises TaskError: if the package is missing, there is no such functional, or the weights are others.
    """
    functional, parameters = need(level, "functional", "the level of theory"), level.get("parameters", {})
    if functional not in CHGNET_WEIGHTS:
        raise TaskError("bad_input", f"CHGNet has no functional '{functional}'; it has {', '.join(CHGNET_WEIGHTS)}.")
    precision = parameters.get("precision", "float64")
    if precision not in ("float64", "float32"):
        raise TaskError("bad_input", f"CHGNet's precision is float64 or float32, not '{precision}'.")
    key = json.dumps(["chgnet", functional, precision, parameters.get("weights")])
    if key not in _CACHE:
        with needs("chgnet"), quiet():
            import chgnet
            import torch
            from chgnet.model.model import CHGNet

            name = CHGNET_WEIGHTS[functional]
            _check_weights(Path(chgnet.__file__).parent / "pretrained" / name, parameters.get("weights"))
            network = CHGNet.load(model_name=name, use_device="cpu", verbose=False)
        network.to(getattr(torch, precision)).eval().requires_grad_(False)
        if network.composition_model is not None:
            # It makes its own float32 input; for a fixed composition it is a constant.
            network.composition_model.float()
        network.graph_converter.set_isolated_atom_response("error")
        _CACHE[key] = network
    return _CACHE[key]


def _check_weights(folder: Path, expected: str | None) -> None:
    """Check that weights are those that a level of theory names.

    :param folder: of the file of the weights.
    :param expected: its SHA-256; empty: any.
    :raises TaskError: ``bad_input`` if it is another.
    """
    if not expected:
        return
    found = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.pth.tar"))]
    if expected not in found:
        raise TaskError(
            "bad_input",
            f"CHGNet {version('chgnet')} has other weights '{folder.name}' than the level of theory names "
            f"({', '.join(short[:12] for short in found) or 'none'}, not {expected[:12]}): install chgnet 0.4.2.",
        )


def gpaw_has_stress(level: Mapping[str, Any]) -> bool:
    """Return whether a level of theory gives a stress that can be trusted.

    GPAW leaves the exchange part out of a hybrid's stress, by several eV/Å³, without an error; and see
    :data:`GPAW_STRESS_CUTOFF`.

    :param level: level of theory.
    """
    return bool(level["functional"] != "HSE06" and level["parameters"]["cutoff"] >= GPAW_STRESS_CUTOFF)


def gpaw_calculator(level: Mapping[str, Any], log: str | None) -> Any:
    """Return a fresh GPAW calculator: plane waves, fixed Γ-centred mesh, no symmetry.

    :param level: level of theory with ``parameters``: cutoff (eV), kpoints (3,), smearing (eV; Methfessel-Paxton of
        order 0, which is Gaussian), energy_convergence (eV a valence electron), density_convergence (electrons a
        valence electron), eigenstates_convergence (eV² a valence electron), max_iterations; setups, the package of the
        PAW setups (default: not checked); spin, whether a single atom has the moment of Hund's rules (default: no).
    :param log: file of GPAW's own output; None: nowhere.
    :raises TaskError: if GPAW is missing, or the level is not one of its.
    """
    functional = need(level, "functional", "the level of theory")
    parameters = need(level, "parameters", "the level of theory")
    if functional not in GPAW_FUNCTIONALS:
        raise TaskError(
            "bad_input", f"GPAW has no functional '{functional}' here; it has {', '.join(GPAW_FUNCTIONALS)}."
        )

    def value(name: str) -> Any:
        return need(parameters, name, "the level of theory for GPAW (write its defaults out with normalise)")

    with needs("gpaw"), quiet():
        from gpaw import GPAW, PW
    expected, found = parameters.get("setups"), f"gpaw-data {version('gpaw-data')}"
    if expected is not None and expected != found:
        raise TaskError(
            "bad_input", f"the level of theory was defined with the PAW setups of '{expected}', here is '{found}'."
        )
    spin = bool(parameters.get("spin", False))
    return GPAW(
        mode=PW(value("cutoff")),
        xc=GPAW_FUNCTIONALS[functional],
        kpts={"size": tuple(value("kpoints")), "gamma": True},
        occupations={"name": "methfessel-paxton", "order": 0, "width": value("smearing"), "fixmagmom": spin},
        convergence={
            "energy": value("energy_convergence"),
            "density": value("density_convergence"),
            "eigenstates": value("eigenstates_convergence"),
        },
        maxiter=value("max_iterations"),
        symmetry="off",
        spinpol=spin,
        hund=spin,
        txt=log,
    )


def calculator_class(name: str) -> Any:
    """Return the class of an ASE calculator.

    :param name: ASE's, such as ``emt``; or ``package.module:Class`` for a calculator that another package brings.
    :raises ImportError: if it, or what it needs, cannot be imported.
    """
    from ase.calculators.calculator import get_calculator_class

    module, _, attribute = name.partition(":")
    if not attribute:
        return get_calculator_class(name)
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise ImportError(f"the module '{module}' has no '{attribute}'", name=name) from error


def ase_calculator(level: Mapping[str, Any]) -> Any:
    """Return any calculator that ASE knows by name, or that a package brings.

    :param level: level of theory with ``parameters``: calculator, arguments.
    :raises TaskError: if there is no such calculator, or it does not take the arguments.
    """
    parameters = need(level, "parameters", "the level of theory")
    name = need(parameters, "calculator", "the level of theory for ASE")
    try:
        with quiet():
            return calculator_class(name)(**parameters.get("arguments", {}))
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error)
        if missing == f"ase.calculators.{name}":
            message = f"ASE knows no calculator '{name}'; one of another package is 'package.module:Class'."
            raise TaskError("bad_input", message) from error
        if missing == name:
            raise TaskError("bad_input", f"there is no calculator '{name}': {error}.") from error
        message = f"ASE's calculator '{name}' needs '{missing}', which is not installed here: pip install {missing}."
        raise TaskError("missing_dependency", message) from error
    except (KeyError, AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise TaskError("bad_input", f"ASE cannot make the calculator '{name}': {reason}.") from error
