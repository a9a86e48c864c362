"""Two protocols on a diatomic molecule, held against the law of its bond, which is known exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from ase import Atoms
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import kstwo

from aiida_slhmc.analysis.diatomic import BondLaw, bond_law
from aiida_slhmc.analysis.distances import nearest_distances
from aiida_slhmc.analysis.statistics import mean_of_chains
from aiida_slhmc.calculations.base import potential_spec
from aiida_slhmc.worker.predict import predict

from . import panels, style

#: Bond lengths (Å) at which every surface is evaluated; beyond them nothing at 500 K matters.
LENGTHS = np.linspace(0.96, 1.26, 31)
#: Bins of the histograms in Å.
BIN = 0.008
TARGET, FOUNDATION, RELABEL, SLHMC = "target", "foundation", "relabel", "slhmc"
NAMES = {TARGET: "target", FOUNDATION: "foundation model", RELABEL: "model relabelled", SLHMC: "model of SLHMC"}
SETS = {RELABEL: "relabelling", SLHMC: "SLHMC"}
LOOKS = {
    TARGET: (style.BLACK, "-"),
    FOUNDATION: (style.GREY, "--"),
    RELABEL: (style.VERMILLION, "-."),
    SLHMC: (style.BLUE, "-"),
}


def bond_lengths(node: orm.Data) -> NDArray[np.float64]:
    """Return the bond lengths (F,) in Å of frames or states of a diatomic molecule.

    :param node: with positions (F, 2, 3) and cells (F, 3, 3) in Å and atomic numbers.
    """
    numbers = node.get_array("numbers")
    symbols = [chemical_symbols[number] for number in np.ravel(numbers)[:2]]
    positions, cells = node.get_array("positions"), node.get_array("cells")
    return nearest_distances(positions, cells, numbers, centre=symbols[0], neighbour=symbols[1])[:, 0]


def _molecule(numbers: Any, length: float) -> Atoms:
    return Atoms(numbers, positions=[[0, 0, -length / 2], [0, 0, length / 2]], cell=np.eye(3) * 15.0, pbc=True)


def curve(model: orm.Data, numbers: NDArray[np.int64], lengths: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what a surface says along the bond.

    :param model: a MACE model, or a level of theory.
    :param numbers: (2,) atomic numbers.
    :param lengths: (n,) in Å.
    :returns: ``energy`` (n,) in eV, ``force`` (n,) in eV/Å, -dU/dr.
    """
    structures = [_molecule(numbers, length) for length in lengths]
    frames = {
        "numbers": np.tile(numbers, (len(lengths), 1)),
        "positions": np.array([atoms.positions for atoms in structures]),
        "cells": np.array([atoms.cell[:] for atoms in structures]),
        "pbc": np.ones((len(lengths), 3), dtype=bool),
    }
    with potential_spec(model) as spec:
        answer = predict({"potential": spec, "frames": frames})
    forces = answer["forces"][..., 2]
    return {"energy": answer["energies"], "force": 0.5 * (forces[:, 1] - forces[:, 0])}


def sample_row(sample: Mapping[int, NDArray[np.float64]], law: BondLaw) -> dict[str, float]:
    """Return how a sample of bond lengths compares with a law.

    :param sample: bond lengths (n,) in Å, of each chain.
    :param law: that they should follow.
    :returns: ``n``, ``effective_size``; ``mean`` and ``mean_error`` (Å), ``z`` of the mean with the law's own spread;
        ``sd`` (Å) about the mean of the law;
        ``w1`` and its ``floor`` (Å); ``ks``, the largest difference of the distribution functions, and ``ks_p``;
        ``shortest`` (Å) and ``missed``, the probability of a shorter bond under the law.
    """
    pooled = np.concatenate(list(sample.values()))
    estimate = mean_of_chains(list(sample.values()))
    size = estimate.effective_size
    ordered, n = np.sort(pooled), len(pooled)
    expected = law.cdf(ordered)
    ks = float(max((np.arange(1, n + 1) / n - expected).max(), (expected - np.arange(n) / n).max()))
    error = law.sd / math.sqrt(size)
    return {
        "n": n,
        "effective_size": size,
        "mean": estimate.value,
        "mean_error": error,
        "z": (estimate.value - law.mean) / error,
        "sd": math.sqrt(float(np.mean((pooled - law.mean) ** 2))),
        "w1": law.wasserstein(pooled),
        "floor": law.floor(size),
        "ks": ks,
        "ks_p": float(kstwo.sf(ks, max(1, round(size)))),
        "shortest": float(pooled.min()),
        "missed": float(law.cdf(pooled.min())),
    }


def model_row(surface: Mapping[str, Any], target: Mapping[str, Any], exact: BondLaw, law: BondLaw) -> dict[str, float]:
    """Return how far a model is from the target along the bond.

    :param surface: its curve.
    :param target: that of the target.
    :param exact: law of the target's bond.
    :param law: that of the model's.
    :returns: ``force_rmse`` (eV/Å) and ``energy_rmse`` (eV, its mean removed), both over the law of the target;
        ``mean`` (Å) and ``w1`` (Å) of the model's own law.
    """
    error = surface["energy"] - target["energy"]
    error = error - exact.average(LENGTHS, error)
    return {
        "force_rmse": math.sqrt(exact.average(LENGTHS, (surface["force"] - target["force"]) ** 2)),
        "energy_rmse": math.sqrt(exact.average(LENGTHS, error**2)),
        "mean": law.mean,
        "w1": law.distance(exact),
    }


def bond_report(slhmc: orm.ProcessNode, relabel: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Compare self-learning with relabelling on a diatomic molecule; write figure, tables and numbers.

    The curves are computed here, with the target's own engine; the bonds are those of the runs' frames and states.

    :param slhmc: a finished run with a production phase.
    :param relabel: a finished run on the same foundation model and target.
    :param folder: where the files go.
    :returns: ``temperature``, ``labels`` of each run's training set, ``laws`` (mean and sd in Å), ``samples`` as
        :func:`sample_row` (training sets and the states of the frozen phase, against the target's law) and ``models``
        as :func:`model_row`.
    """
    temperature = float(slhmc.inputs.ensemble["temperature"])
    surfaces = {
        TARGET: slhmc.inputs.target.level,
        FOUNDATION: slhmc.inputs.model,
        RELABEL: relabel.outputs.model,
        SLHMC: slhmc.outputs.model,
    }
    numbers = np.asarray(slhmc.inputs.structure.get_ase().numbers, dtype=np.int64)
    curves = {name: curve(node, numbers, LENGTHS) for name, node in surfaces.items()}
    laws = {name: bond_law(LENGTHS, values["energy"], temperature) for name, values in curves.items()}
    states = slhmc.outputs.states
    chain, bonds = states.get_array("chain"), bond_lengths(states)
    samples = {
        f"{RELABEL} training set": {0: _trained_on(relabel)},
        f"{SLHMC} training set": {0: _trained_on(slhmc)},
        f"{SLHMC} frozen phase": {int(number): bonds[chain == number] for number in np.unique(chain)},
    }
    result = {
        "temperature": temperature,
        "labels": {RELABEL: relabel.outputs.dataset.n_frames, SLHMC: slhmc.outputs.dataset.n_frames},
        "laws": {name: {"mean": law.mean, "sd": law.sd} for name, law in laws.items()},
        "samples": {name: sample_row(sample, laws[TARGET]) for name, sample in samples.items()},
        "models": {
            name: model_row(curves[name], curves[TARGET], laws[TARGET], laws[name])
            for name in (FOUNDATION, RELABEL, SLHMC)
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bonds.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    rows = [
        {"length": length} | {f"{key} {name}": curves[name][key][i] for name in curves for key in ("energy", "force")}
        for i, length in enumerate(LENGTHS)
    ]
    style.write_table(folder, "bonds", rows)
    with style.styled():
        figure = style.new_figure(style.PAGE, 3.0)
        left, middle, right = figure.subplots(1, 3)
        _sets(left, laws, samples)
        _errors(middle, curves, laws[TARGET])
        _laws(right, laws, bonds)
        style.save(figure, folder, "bonds")
    return result


def _trained_on(run: orm.ProcessNode) -> NDArray[np.float64]:
    return np.concatenate([bond_lengths(chunk) for chunk in run.outputs.dataset.frames()])


def _sets(axes: Axes, laws: Mapping[str, BondLaw], samples: Mapping[str, Mapping[int, NDArray[np.float64]]]) -> None:
    edges = np.arange(LENGTHS[0], LENGTHS[-1], BIN).tolist()
    for name in (FOUNDATION, TARGET):
        axes.plot(laws[name].lengths, laws[name].density, LOOKS[name][1], color=LOOKS[name][0], label=NAMES[name])
    for name in (RELABEL, SLHMC):
        values = np.concatenate(list(samples[f"{name} training set"].values()))
        axes.hist(
            values, edges, density=True, color=LOOKS[name][0], alpha=0.45, label=f"labels of {SETS[name]}"
        )  # fmt: skip
    axes.set_ylabel("probability density (1/Å)")
    _bond_axis(axes)
    panels.legend_above(axes)


def _errors(axes: Axes, curves: Mapping[str, Mapping[str, Any]], law: BondLaw) -> None:
    for name in (FOUNDATION, RELABEL, SLHMC):
        error = curves[name]["force"] - curves[TARGET]["force"]
        axes.plot(LENGTHS, np.abs(error), LOOKS[name][1], color=LOOKS[name][0], label=NAMES[name])
    inside = law.lengths[(law.cumulative > 0.005) & (law.cumulative < 0.995)]
    axes.axvspan(inside[0], inside[-1], color=style.LIGHT, linewidth=0, zorder=-1, label="99 % of the target")
    axes.set_yscale("log")
    axes.set_ylabel("force error (eV/Å)")
    _bond_axis(axes)
    panels.legend_above(axes)


def _laws(axes: Axes, laws: Mapping[str, BondLaw], states: NDArray[np.float64]) -> None:
    edges = np.arange(LENGTHS[0], LENGTHS[-1], BIN).tolist()
    axes.hist(states, edges, density=True, color=style.SKY, alpha=0.6, label="SLHMC, frozen phase")
    for name in (RELABEL, SLHMC, TARGET):
        axes.plot(laws[name].lengths, laws[name].density, LOOKS[name][1], color=LOOKS[name][0], label=NAMES[name])
    axes.set_ylabel("probability density (1/Å)")
    _bond_axis(axes)
    panels.legend_above(axes)


def _bond_axis(axes: Axes) -> None:
    axes.set_xlim(1.0, 1.22)
    axes.set_xlabel("bond length (Å)")
