"""``aiida-slhmc replay-set``: make, import and export what a fine-tuned model is not to forget."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError


def _load(context: click.Context) -> None:
    from .session import load

    load(context.obj["profile"], context.obj["path"])


@click.group("replay-set")
def replay_set() -> None:
    """Make, import and export replay sets for the strategy 'multihead' (docs/topics/fine-tuning.md)."""


@replay_set.command()
@click.argument("structures", nargs=-1, required=True)
@click.option("--model", required=True, help="Foundation model: as in a run file.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Root seed.")
@click.option("--protocol", help="fast or balanced [default: balanced].")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE",
              help="A setting, such as temperature=1000 (K); may be given several times.")  # fmt: skip
@click.option("--code", help="Make the frames as jobs with this code, slhmc-worker@computer.")
@click.option("--export", "output", type=click.Path(path_type=Path), help="Write the set to this extended XYZ too.")
@click.pass_context
def make(
    context: click.Context, structures: tuple[str, ...], model: str, seed: int, protocol: str | None,
    changes: tuple[str, ...], code: str | None, output: Path | None,
) -> None:  # fmt: skip
    """Make a replay set of STRUCTURES (files, names or PKs), labelled by the foundation model itself.

    Hot dynamics and strained, rattled cells of each structure. The more kinds of structures, the more is remembered.
    """
    _load(context)
    from aiida_slhmc.workflows.replay_set import ReplaySetWorkChain
    from aiida_slhmc.workflows.runfile import RunFileError, check, load_code, load_model, load_structure

    here = Path()
    overrides: dict[str, Any] = {"replay_set": _settings(changes)}
    if output is not None:
        _writable(output)
    try:
        if code is not None:
            overrides["executor"] = {"dynamics": "job"}
        builder = ReplaySetWorkChain.get_builder_from_protocol(
            structures=[load_structure(_identifier(value), here) for value in structures],
            model=load_model(_identifier(model), here),
            seed=seed,
            protocol=protocol,
            overrides=overrides,
            worker_code=None if code is None else load_code(code, "--code"),
        )
        check(builder)
    except (RunFileError, ValueError) as error:
        raise InputError(str(error)) from error
    _tell(_run(builder).outputs.replay, output)


@replay_set.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the frames kept apart.")
@click.option("--valid-fraction", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1,
              show_default=True, help="Frames kept apart, on which forgetting is measured.")  # fmt: skip
@click.option("--energy-key", help="Where the file keeps the energy [default: REF_energy, else energy].")
@click.option("--forces-key", help="Where it keeps the forces [default: REF_forces, else forces].")
@click.option("--stress-key", help="Where it keeps the stress, in eV/Å³ with ASE's sign [default: likewise].")
@click.pass_context
def import_file(
    context: click.Context, file: Path, seed: int, valid_fraction: float, energy_key: str | None,
    forces_key: str | None, stress_key: str | None,
) -> None:  # fmt: skip
    """Import a replay set from FILE, extended XYZ in eV and Å.

    Its energies must count from the foundation model's zero: its own predictions, or the labels that it was trained on.
    """
    _load(context)
    from aiida_slhmc.workflows.replay_set import import_file as import_replay

    if not file.is_file():
        raise InputError(f"there is no file '{file}'.")
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    try:
        _tell(import_replay(file, keys, seed, valid_fraction), None)
    except ValueError as error:
        raise InputError(str(error)) from error


@replay_set.command()
@click.argument("identifier")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@click.pass_context
def export(context: click.Context, identifier: str, output: Path, force: bool) -> None:
    """Export the replay set with the PK or UUID IDENTIFIER to OUTPUT, extended XYZ at full precision."""
    _load(context)
    from aiida_slhmc.workflows.runfile import RunFileError, load_replay

    if not force:
        _writable(output)
    try:
        replay = load_replay(_identifier(identifier), Path(), seed=0, store=False)
    except RunFileError as error:
        raise InputError(str(error)) from error
    click.echo(f"{_write(replay, output)} frames written to {output}")


def _identifier(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _run(builder: Any) -> Any:
    """Run a WorkChain in this process and return its node."""
    from aiida_slhmc.engine.runner import EngineFailure, Interrupted, Paused, run_foreground

    try:
        node = run_foreground(builder)
    except Interrupted as error:
        raise RunError("interrupted; the same command makes the same set.") from error
    except (EngineFailure, Paused) as error:
        raise RunError(str(error)) from error
    if not node.is_finished_ok:
        raise RunError(f"process <{node.pk}> failed: {node.exit_message or node.exception}")
    return node


def _settings(changes: tuple[str, ...]) -> dict[str, Any]:
    """Return settings given as NAME=VALUE."""
    import yaml

    found = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign:
            raise InputError(f"--set takes NAME=VALUE, not '{change}'.")
        found[name] = yaml.safe_load(value)
    return found


def _writable(output: Path) -> None:
    if output.exists():
        raise InputError(f"'{output}' exists: choose another name.")
    if not output.resolve().parent.is_dir():
        raise InputError(f"'{output}' cannot be written: there is no folder '{output.parent}'.")


def _tell(replay: Any, output: Path | None) -> None:
    chunks = len(replay.chunks)
    click.echo(
        f"replay set <{replay.pk}>: {replay.n_frames} frames in {chunks} chunk{'s' * (chunks != 1)}; in a run file:"
        f" 'replay: {replay.pk}' and the strategy 'multihead'."
    )
    if output is not None:
        click.echo(f"{_write(replay, output)} frames written to {output}")


def _write(replay: Any, output: Path) -> int:
    """Write a replay set; ``role`` says which of its frames are trained on."""
    from aiida_slhmc.calculations.finetune import read_chunks
    from aiida_slhmc.data.frames import REQUIRED
    from aiida_slhmc.data.label_files import format_frame

    content, count = read_chunks(replay), 0
    partial = output.with_name(output.name + ".part")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            for arrays, split in zip(content["frames"], content["split"], strict=True):
                for row, role in enumerate(split):
                    frame = {name: arrays[name][row : row + 1] for name in REQUIRED}
                    stream.write(format_frame(frame, {"role": ("train", "valid", "test")[int(role)]}))
                    count += 1
        os.replace(partial, output)
    except OSError as error:
        raise InputError(f"'{output}' cannot be written: {error.strerror}.") from error
    return count
