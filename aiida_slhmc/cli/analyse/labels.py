"""``analyse errors`` and ``analyse coverage``: predictions against labels, sets against a training set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_slhmc.cli.errors import InputError

from .shared import POSITIVE, frame_options, input_errors, seed_option, show

if TYPE_CHECKING:
    from ase import Atoms

    from aiida_slhmc.report.frame_sets.errors import Predictor


@click.command()
@frame_options(together=False)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File of labels, of the same structures in the same order; one for each of FILES.",
)
@click.option(
    "--labels-key",
    default=None,
    metavar="PREFIX",
    help="Prefix of the labels' keys: REF_ for REF_energy, REF_forces, REF_stress [default: ASE's results].",
)
@click.option("--predictions-key", default=None, metavar="PREFIX", help="Likewise of the predictions, such as MACE_.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    help="MACE model that predicts for the labelled FILES. It is a pickle: loading it runs what is in it. "
    "Take one from a source you trust.",
)
@click.option("--head", default=None, help="Head of the model, where it has several.")
@click.option(
    "--temperature",
    type=POSITIVE,
    default=None,
    help="In K: adds the acceptance of independent proposals that the energy errors allow.",
)
@click.option(
    "--block-length",
    type=click.IntRange(min=1),
    default=None,
    help="Frames a block of the bootstrap [default: twice the errors' autocorrelation time].",
)
@seed_option
def errors(
    files: tuple[Path, ...], discard: int, every: int, output: Path | None, as_json: bool, labels: tuple[Path, ...],
    labels_key: str | None, predictions_key: str | None, model: Path | None, head: str | None,
    temperature: float | None, block_length: int | None, seed: int,
) -> None:  # fmt: skip
    """RMSE and MAE of the predictions in FILES: energy per atom, force components, stress, with error bars.

    The labels are in other files (--labels), or in FILES under keys of their own (--labels-key, --predictions-key);
    or FILES hold labels alone and a MACE model predicts (--model).
    """
    if labels and len(labels) != len(files):
        raise InputError(f"--labels: {len(labels)} files for {len(files)} files of predictions.")
    if model is not None and (labels or predictions_key is not None):
        raise InputError("--model predicts itself: leave --labels and --predictions-key out.")
    if model is None and not labels and labels_key == predictions_key:
        raise InputError(
            "labels and predictions would be the same numbers: name --labels, --labels-key, --predictions-key "
            "or --model."
        )
    with input_errors():
        from aiida_slhmc.analysis.files import FrameFile
        from aiida_slhmc.report.frame_sets.common import samples_of
        from aiida_slhmc.report.frame_sets.errors import errors_report

        predictor = None if model is None else mace_predictor(model, head)
        report = errors_report(
            samples_of(files, discard=discard, every=every),
            [FrameFile(path, discard, every) for path in labels],
            labels_key=labels_key,
            predictions_key=predictions_key,
            predictor=predictor,
            block=block_length,
            temperature=temperature,
            seed=seed,
        )
        show(report, output, as_json)


def mace_predictor(path: Path, head: str | None) -> Predictor:
    """Return a function that predicts a frame with a MACE model.

    :param path: of the model: a pickle, which is executed.
    :param head: of the model.
    :raises InputError: if it is no model.
    """
    import numpy as np

    from aiida_slhmc.analysis.frame_sets import Values
    from aiida_slhmc.worker.errors import TaskError
    from aiida_slhmc.worker.models import file_sha256
    from aiida_slhmc.worker.predict import predict

    if not path.is_file():
        raise InputError(f"there is no model '{path}'.")
    click.echo(f"'{path}' is a pickle: loading it runs what is in it.", err=True)
    potential = {"engine": "mace", "file": str(path), "sha256": file_sha256(path), "head": head}

    def predicted(atoms: Atoms) -> Values:
        frames = {
            "numbers": atoms.numbers[None],
            "positions": atoms.positions[None],
            "cells": np.asarray(atoms.cell[:])[None],
            "pbc": atoms.pbc[None],
        }
        try:
            found = predict({"potential": potential, "frames": frames})
        except TaskError as error:
            raise InputError(f"--model: {error}") from error
        stress = found["stresses"][0]
        return Values(float(found["energies"][0]), found["forces"][0], stress if np.isfinite(stress).all() else None)

    return predicted


@click.command()
@frame_options(together=False)
@click.option(
    "--training",
    "training",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="File of the training set; may be repeated.",
)
@click.option(
    "--training-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of the training set take every how manieth frame.",
)
@click.option("--cutoff", type=POSITIVE, default=5.0, show_default=True, help="Of the SOAP descriptors in Å.")
@click.option("--n-max", type=click.IntRange(1, 30), default=8, show_default=True, help="Radial functions.")
@click.option("--l-max", type=click.IntRange(0, 20), default=6, show_default=True, help="Largest angular momentum.")
@click.option("--sigma", type=POSITIVE, default=0.375, show_default=True, help="Width of the Gaussians in Å.")
@click.option("--components", type=click.IntRange(min=1), default=5, show_default=True,
              help="Principal components of each element.")  # fmt: skip
def coverage(
    files: tuple[Path, ...], discard: int, every: int, output: Path | None, as_json: bool, training: tuple[Path, ...],
    training_every: int, cutoff: float, n_max: int, l_max: int, sigma: float, components: int,
) -> None:  # fmt: skip
    """How well a training set covers the atoms of FILES: Q-residual and Hotelling's T² of SOAP vectors.

    Each element has principal components of its own, of the training set's atoms. Q is what of an atom lies outside
    them, T² how far out it lies within. The descriptors of the training set are kept in memory, those of FILES are not.
    """
    with input_errors():
        from aiida_slhmc.analysis.coverage import Settings
        from aiida_slhmc.analysis.files import FrameFile
        from aiida_slhmc.report.frame_sets.common import samples_of
        from aiida_slhmc.report.frame_sets.coverage import coverage_report

        report = coverage_report(
            samples_of(files, discard=discard, every=every, taken=["training set"]),
            [FrameFile(path, 0, training_every) for path in training],
            Settings(r_cut=cutoff, n_max=n_max, l_max=l_max, sigma=sigma, components=components),
        )
        show(report, output, as_json)
