"""A comparison made of samples with known laws: crystals whose atoms and cells move by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.analysis import comparison as comparing
from aiida_slhmc.analysis.learning import curve_on_tests, learning_curve
from aiida_slhmc.analysis.samples import Plan, analyse, make_plan, units_of
from aiida_slhmc.workflows.runfile import rutile

SETTINGS = {"pair": None, "cutoff": None, "windows": None, "shell": [4, 2], "multiples": [1, 1, 2], "rdf_range": 6.0}
ATOMS = rutile().repeat((1, 1, 2))
#: By protocol: spread of the atoms (Å), strain of the cell, error of the forces (eV/Å), number of seeds.
LAWS: dict[str, tuple[float, float, float, int]] = {
    "foundation": (0.075, 0.0080, 0.25, 1),
    "naive": (0.069, 0.0045, 0.08, 3),
    "periodic": (0.067, 0.0030, 0.06, 3),
    "relabel": (0.066, 0.0035, 0.07, 3),
    "on_the_fly": (0.066, 0.0015, 0.05, 2),
    "slhmc": (0.065, 0.0, 0.04, 3),
}
TARGET = (0.065, 0.0)


def correlated(rng: np.random.Generator, frames: int, *shape: int, phi: float = 0.6) -> np.ndarray:
    """Return stationary AR(1) series of unit variance along the first axis."""
    noise = rng.normal(size=(frames, *shape))
    for row in range(1, frames):
        noise[row] = phi * noise[row - 1] + np.sqrt(1 - phi**2) * noise[row]
    return noise


def sample(seed: int, spread: float, strain: float, *, frames: int, chains: int, moves: bool) -> dict[str, np.ndarray]:
    """Return a sample as dynamics would leave it."""
    rng = np.random.default_rng(seed)
    parts = []
    for chain in range(chains):
        scale = 1.0 + strain + (0.003 * correlated(rng, frames, 3) if moves else np.zeros((frames, 3)))
        cells = ATOMS.cell[:] * (scale[:, :, None] if moves else np.ones((frames, 1, 1)))
        positions = ATOMS.get_scaled_positions() @ cells + spread * correlated(rng, frames, len(ATOMS), 3)
        pressure = -(600.0 * strain + 0.5 * correlated(rng, frames)) / 160.2
        stresses = pressure[:, None, None] * np.eye(3)
        parts.append({"positions": positions, "cells": cells, "stresses": stresses, "chain": np.full(frames, chain)})
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {**joined, "numbers": ATOMS.numbers}


def block(labels: int, force: float, cycles: int | None = None) -> dict[str, Any]:
    """Return a row of a history."""
    errors = {"force_rmse": force, "energy_rmse": 0.05 * force, "energy_rmse_offset_removed": 0.04 * force}
    errors |= {f"{name}_error": 0.1 * value for name, value in errors.items()}
    row: dict[str, Any] = {"labels": labels, "production": False, "errors": errors, "training": {"wall_time": 60.0}}
    if cycles is not None:
        accepted = round(cycles * (1.0 - force / 0.3))
        row |= {
            "cycles": cycles,
            "accepted": accepted,
            "length": 10,
            "acceptance_interval": [accepted / cycles - 0.1, accepted / cycles + 0.1],
        }
    return row


def comparison(*, moves: bool, frames: int = 120) -> tuple[dict[str, Any], dict[str, dict], dict[str, np.ndarray]]:
    """Return what a comparison's node holds, the analyses of its candidates, and that of its reference."""
    target = sample(99, *TARGET, frames=2 * frames, chains=2, moves=moves)
    plan = make_plan(target, SETTINGS, temperature=300.0, moves=moves)
    reference = analyse(target, plan)
    table, analyses = {}, {}
    for number, (protocol, (spread, strain, force, seeds)) in enumerate(LAWS.items()):
        for seed in range(1, seeds + 1):
            name = protocol if protocol == "foundation" else f"{protocol}_seed_{seed}"
            own = sample(100 * number + seed, spread, strain, frames=frames, chains=1, moves=moves)
            analyses[name] = analyse(own, plan)
            table[name] = row_of(protocol, seed, force, analyses[name], reference, plan)
    values = {
        "rows": table,
        "protocols": comparing.by_protocol(table),
        "reference": {"frames": len(reference["chain"]), "chains": 2},
        "plan": {**plan.as_dict(), "formula_unit": units_of(ATOMS.numbers)},
    }
    return values, analyses, reference


def row_of(
    protocol: str, seed: int, force: float, own: Mapping[str, Any], reference: Mapping[str, Any], plan: Plan
) -> dict[str, Any]:
    """Return the row of a candidate."""
    result = comparing.compare(
        own,
        reference,
        ATOMS.numbers,
        plan,
        generator=lambda what: np.random.default_rng([seed, *what.encode()]),
        resamples=60,
    )
    trained = protocol != "foundation"
    rng = np.random.default_rng(seed)
    falling = [0.25, 0.5 * (0.25 + force), force] if protocol in ("slhmc", "periodic", "on_the_fly") else [0.25]
    # On the fly the labels come when they come.
    sizes = rng.integers(8, 13, size=3).tolist() if protocol == "on_the_fly" else [30 // len(falling)] * len(falling)
    history = [
        block(size, value * rng.uniform(0.9, 1.1), 10 if protocol == "slhmc" else None)
        for size, value in zip(sizes, falling, strict=False)
    ]
    final = block(0, force * rng.uniform(0.9, 1.1))["errors"] | {
        "stress_rmse": 0.02 * force,
        "stress_rmse_error": 0.001,
    }
    scores = {f"block_{index:03d}": block(0, value)["errors"] for index, value in enumerate([*falling[1:], force])}
    return {
        "protocol": protocol,
        "problem": None,
        "warnings": [],
        "labels": {
            "spent": sum(sizes) if trained else 0,
            "trained_on": sum(sizes) if trained else 0,
            "calls": 30 * trained,
        },
        "training": {"wall_time": 60.0 * len(falling) * trained},
        "learning": learning_curve(history) if trained else [],
        "curves": {"random": curve_on_tests(history, scores)} if trained else {},
        "chains": {"blocks": history} if protocol == "slhmc" else None,
        "errors": {"random": final, "ensemble": {name: 0.5 * value for name, value in final.items()}},
        **result,
    }
