"""Figures of a run: from plain arrays and dictionaries to PNG, PDF and the plotted numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import panels, style, tables

Block = Mapping[str, Any]
Samples = Mapping[str, Mapping[str, Any]]

#: Bins that a thousand distances with a spread of 0.04 Å fill smoothly.
BIN_WIDTH = 0.01
#: Arrays of a trace of energies.
TRACE = ("chain", "cycle", "energies")
FORCE_TITLE, ENERGY_TITLE = "force RMSE\n(meV/Å)", "energy RMSE\n(meV/atom)"


def acceptance_history(
    blocks: Sequence[Block],
    *,
    folder: Path,
    chains: int = 1,
    endpoints: Mapping[str, ArrayLike] | None = None,
    name: str = "acceptance-history",
) -> list[Path]:
    """Draw acceptance and proposal length over the cycles of a run.

    :param blocks: rows of the history: ``cycles`` (over all chains), ``accepted``, ``length`` (steps), ``production``.
    :param folder: where the files go.
    :param chains: number of chains.
    :param endpoints: every proposal: ``cycle``, ``accepted``, ``length`` and, with several chains, ``chain``, all (F,).
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV; with endpoints a second CSV.
    :raises ValueError: without a block.
    """
    rows = tables.block_rows(blocks, chains)
    proposals = tables.proposal_rows(endpoints) if endpoints is not None else []
    with style.styled():
        figure = style.new_figure(style.COLUMN, 2.9)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.35, 1))
        panels.acceptance(top, rows, proposals)
        panels.proposal_length(bottom, rows, proposals)
        paths = style.save(figure, folder, name)
    paths.append(style.write_table(folder, name, rows))
    if proposals:
        paths.append(style.write_table(folder, f"{name}-proposals", proposals))
    return paths


def prequential_errors(
    blocks: Sequence[Block], *, folder: Path, chains: int = 1, name: str = "prequential-errors"
) -> list[Path]:
    """Draw force and energy errors of the current and the foundation model on labels that neither was trained on.

    :param blocks: rows of the history, with ``errors`` and ``foundation_errors`` (eV/Å, eV/atom).
    :param folder: where the files go.
    :param chains: number of chains; 0: the run has none, and its labels are counted instead of cycles.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    :raises ValueError: if no block has errors.
    """
    places, rows = tables.places(blocks, chains), tables.error_rows(blocks, chains)
    with style.styled():
        figure = style.new_figure(style.COLUMN, 2.9)
        top, bottom = figure.subplots(2, 1, sharex=True)
        panels.errors(top, rows, places, "force_rmse", FORCE_TITLE)
        panels.errors(bottom, rows, places, "energy_rmse", ENERGY_TITLE)
        panels.legend_above(top, ncols=2)
        bottom.set_xlabel("cycle" if chains else "label (DFT call)")
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, rows)]


def distance_distribution(
    distances: Mapping[str, ArrayLike],
    samples: Samples,
    *,
    folder: Path,
    reference: str = "reference",
    pair: tuple[str, str] = ("Ti", "O"),
    bin_width: float = BIN_WIDTH,
    name: str = "distance-distribution",
) -> list[Path]:
    """Draw the distributions of the nearest-neighbour distance, with W1 to the reference and its noise floor.

    :param distances: by sample, any shape, in Å.
    :param samples: by sample: ``distance``, ``distance_error``, ``w1``, ``w1_error``, ``floor``, ``floor_95`` (Å),
        as of :func:`aiida_slhmc.analysis.ensembles.compare_samples`.
    :param folder: where the files go.
    :param reference: name of the reference.
    :param pair: element symbols.
    :param bin_width: in Å.
    :param name: of the files.
    :returns: paths of PNG, PDF, the histogram's CSV and that of W1.
    :raises ValueError: without a sample.
    """
    densities, rows = _distances(distances, samples, reference, bin_width)
    with style.styled():
        figure = style.new_figure(style.COLUMN, 2.6)
        panels.distribution(figure.subplots(), densities, rows, reference=reference, pair=pair)
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, densities), style.write_table(folder, f"{name}-w1", rows)]


def pressure_comparison(
    samples: Samples, *, folder: Path, reference: str = "reference", name: str = "pressure-comparison"
) -> list[Path]:
    """Draw the mean pressure of every sample, configurational and ideal part, with its error.

    :param samples: by sample: ``pressure``, ``pressure_error`` (GPa).
    :param folder: where the files go.
    :param reference: name of the reference.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    :raises ValueError: if no sample has a pressure.
    """
    rows = _pressures(samples, reference)
    with style.styled():
        figure = style.new_figure(style.COLUMN, 0.6 + 0.36 * len(rows))
        panels.pressures(figure.subplots(), rows, reference=reference)
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, rows)]


def chain_diagnostics(
    report: Mapping[str, Any],
    states: Mapping[str, ArrayLike],
    blocks: Sequence[Block],
    *,
    folder: Path,
    chains: int = 1,
    name: str = "chain-diagnostics",
) -> list[Path]:
    """Draw how far the chains can be trusted: energies, their autocorrelation, acceptance block by block.

    :param report: diagnostics of the phase that the states are of.
    :param states: ``chain``, ``cycle``, ``energies`` (eV), each (S,): the states after every cycle, repeats included;
        ``temperature`` (S,) in K, where chains have temperatures of their own.
    :param blocks: rows of the history.
    :param folder: where the files go.
    :param chains: number of chains.
    :param name: of the files.
    :returns: paths of PNG, PDF, and CSV of traces, autocorrelation function (where there is one), diagnostics.
    :raises ValueError: without a state or a block.
    """
    traces = tables.trace_rows(states["chain"], states["cycle"], states["energies"])
    shown = tables.trace_rows(*(np.asarray(states[key])[_rung(report, states)] for key in TRACE))
    rho = tables.autocorrelation_rows(shown)
    rows = tables.block_rows(blocks, chains)
    with style.styled():
        figure = style.new_figure(style.PAGE, 4.3)
        grid = figure.add_gridspec(2, 2, height_ratios=(1.1, 1))
        upper = figure.add_subplot(grid[0, :])
        left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        panels.traces(upper, traces)
        panels.autocorrelations(left, rho, report["observables"].get("energy", {}))
        panels.acceptance(right, rows)
        right.set_xlabel("cycle")
        for axes, text in zip((upper, left, right), "abc", strict=True):
            panels.letter(axes, text)
        paths = style.save(figure, folder, name)
    paths.append(style.write_table(folder, f"{name}-traces", traces))
    if rho:
        paths.append(style.write_table(folder, f"{name}-autocorrelation", rho))
    return [*paths, style.write_table(folder, name, tables.diagnostics_rows(report))]


def _rung(report: Mapping[str, Any], states: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
    """Return which states (S,) are of the temperature that the report's observables are of."""
    if "temperature" not in states:
        return np.ones(np.shape(states["energies"]), dtype=bool)
    return np.asarray(np.isclose(np.asarray(states["temperature"], dtype=float), report["temperature"]))


def quickstart_summary(
    blocks: Sequence[Block],
    *,
    distances: Mapping[str, ArrayLike],
    samples: Samples,
    folder: Path,
    chains: int = 1,
    endpoints: Mapping[str, ArrayLike] | None = None,
    reference: str = "reference",
    pair: tuple[str, str] = ("Ti", "O"),
    bin_width: float = BIN_WIDTH,
    name: str = "summary",
) -> list[Path]:
    """Draw a whole run on one page, and each of its four panels as a figure of its own.

    :param blocks: rows of the history.
    :param distances: by sample, in Å.
    :param samples: what the comparison of the ensembles says of every sample.
    :param folder: where the files go.
    :param chains: number of chains.
    :param endpoints: every proposal.
    :param reference: name of the reference.
    :param pair: element symbols.
    :param bin_width: in Å.
    :param name: of the page's files; the numbers go with the single figures.
    :returns: paths of all files, the page first.
    :raises ValueError: if a panel would be empty.
    """
    rows, errors = tables.block_rows(blocks, chains), tables.error_rows(blocks, chains)
    proposals = tables.proposal_rows(endpoints) if endpoints is not None else []
    densities, spread = _distances(distances, samples, reference, bin_width)
    with style.styled():
        figure = style.new_figure(style.PAGE, 5.2, layout=None)
        # Margins by hand: the panels of a column stand flush.
        grid = figure.add_gridspec(
            2, 2, height_ratios=(1.45, 1), left=0.085, right=0.985, top=0.94, bottom=0.08, wspace=0.24, hspace=0.58
        )
        left = grid[0, 0].subgridspec(2, 1, height_ratios=(1.35, 1), hspace=0.1)
        right = grid[0, 1].subgridspec(2, 1, hspace=0.1)
        accepted, forces = figure.add_subplot(left[0]), figure.add_subplot(right[0])
        lengths = figure.add_subplot(left[1], sharex=accepted)
        energies = figure.add_subplot(right[1], sharex=forces)
        shapes, dots = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        panels.acceptance(accepted, rows, proposals)
        panels.proposal_length(lengths, rows, proposals)
        panels.errors(forces, errors, rows, "force_rmse", FORCE_TITLE)
        panels.errors(energies, errors, rows, "energy_rmse", ENERGY_TITLE)
        panels.legend_above(forces, ncols=2)
        energies.set_xlabel("cycle")
        for upper in (accepted, forces):
            upper.tick_params(labelbottom=False)
        panels.distribution(shapes, densities, spread, reference=reference, pair=pair)
        panels.pressures(dots, _pressures(samples, reference), reference=reference)
        figure.align_ylabels([accepted, lengths, shapes])
        figure.align_ylabels([forces, energies])
        for axes, text in zip((accepted, forces, shapes, dots), "abcd", strict=True):
            panels.letter(axes, text)
        paths = style.save(figure, folder, name)
    return [
        *paths,
        *acceptance_history(blocks, folder=folder, chains=chains, endpoints=endpoints),
        *prequential_errors(blocks, folder=folder, chains=chains),
        *distance_distribution(distances, samples, folder=folder, reference=reference, pair=pair, bin_width=bin_width),
        *pressure_comparison(samples, folder=folder, reference=reference),
    ]


def _distances(
    distances: Mapping[str, ArrayLike], samples: Samples, reference: str, bin_width: float
) -> tuple[list[tables.Row], list[tables.Row]]:
    arrays = {name: distances[name] for name in panels.ordered(distances, reference)}
    rows = {name: samples[name] for name in panels.ordered(samples, reference)}
    return tables.density_rows(arrays, bin_width), tables.distance_rows(rows)


def _pressures(samples: Samples, reference: str) -> list[tables.Row]:
    return tables.pressure_rows({name: samples[name] for name in panels.ordered(samples, reference)})
