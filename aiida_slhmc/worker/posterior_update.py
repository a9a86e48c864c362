"""Task ``posterior_update``: sample the posterior of a MACE model's weights given the labels so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mace.data import AtomicData

from aiida_slhmc.numerics.randomness import Purpose, generator

from .errors import TaskError, need
from .graphs import head_index
from .hyperparameters import Hyperparameters
from .models import describe_model, read, reference_energies, save
from .posterior.chain import Chain, Trace
from .posterior.ensemble import Heads, stack
from .posterior.likelihood import ForceHead
from .posterior.settings import PosteriorSettings
from .training import dataset, energies, loop

_KEYS = ("model", "frames", "accuracy", "seed", "out")
_WHAT = "the input of a posterior update"


def posterior_update(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run every chain for one update and write the members it ends in.

    The first update starts all chains at the parent and shifts their reference energies so that the parent's energy of
    the first frame is the labelled one (the paper adds this offset to every label instead: the same, since it may be
    trained on one composition only). Later updates go on from where the chains are.

    :param payload: ``model`` (path of the parent, whose weights are the prior's centre), ``frames`` (chunks as of
        ``finetune``: numbers, positions, cells, pbc, energies, forces, stresses; all are trained on, the newest are the
        last of the last chunk), ``newest`` (how many are new; default 1), ``accuracy`` (K in eV per structure),
        ``hyperparameters`` (see :class:`~aiida_slhmc.worker.posterior.settings.PosteriorSettings`), ``seed``,
        ``update`` (number of the update, which with the seed fixes all random numbers; default 0), ``chains`` (to go on
        with: ``models``, paths of all members, and ``heads``, path), ``out`` (folder for the new members).
    :returns: ``models`` (paths), ``heads`` (path of the .npz file), ``members`` (for each: description, errors on the
        frames before and after in meV/atom, meV/Å, meV/Å³, wall_time in s, first and last tenth's mean of the trace),
        ``log_posterior`` (members, steps), ``frozen_at``, ``steps``, ``frames`` (their number), ``offset`` (mean parent
        minus target energy in eV that the members' reference energies take up), ``accuracy``, ``hyperparameters``
        (complete), ``seed``, ``update``, ``versions``, ``wall_time`` (s).
    :raises TaskError: ``bad_input`` for what cannot be sampled, ``diverged`` if a chain ran away; then no file is
        written.
    """
    started = time.perf_counter()
    missing = [key for key in _KEYS if key not in payload]
    if missing:
        raise TaskError("bad_input", f"{_WHAT} lacks {', '.join(missing)}.")
    settings = PosteriorSettings.from_dict(payload.get("hyperparameters") or {})
    accuracy = float(payload["accuracy"])
    if not (np.isfinite(accuracy) and accuracy > 0.0):
        raise TaskError("bad_input", f"the accuracy K must be a positive energy in eV per structure, not {accuracy}.")
    frames = _frames(payload["frames"])
    newest = int(payload.get("newest", 1))
    if not 1 <= newest <= len(frames):
        raise TaskError("bad_input", f"{newest} of {len(frames)} frames cannot be new: give at least 1, at most all.")

    dtype = getattr(torch, settings.dtype)
    parent = read(payload["model"]).to(dtype)
    members = _start(payload, parent, frames, settings, dtype)
    data = dataset.graphs(frames, parent, head_index(parent))
    centres = [parameter.detach().clone() for parameter in parent.parameters()]
    update = int(payload.get("update", 0))
    traces: list[Trace] = []
    rows: list[dict[str, Any]] = []
    for number, (model, head) in enumerate(members):
        began = time.perf_counter()
        before = _errors(model, data)
        chain = Chain(model, head, centres, accuracy, settings)
        rng = generator(int(payload["seed"]), number, update, Purpose.POSTERIOR)
        traces.append(chain.run(data, newest, rng))
        rows.append({
            "errors": {"before": before, "after": _errors(model, data)},
            "wall_time": time.perf_counter() - began,
            **_ends(traces[-1].log_posterior),
        })  # fmt: skip

    out = Path(payload["out"])
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (model, _) in enumerate(members):
        path = out / f"member-{number}.model"
        rows[number]["description"] = describe_model(model, save(model, path))
        paths.append(str(path))
    heads = out / "heads.npz"
    Heads(
        accuracy=accuracy,
        energy_sigma=settings.energy_share * accuracy,
        stress_sigma=settings.stress_sigma,
        force_sigma=settings.force_sigma,
        weights=stack([head for _, head in members]),
    ).write(heads)
    return {
        "models": paths,
        "heads": str(heads),
        "members": rows,
        "log_posterior": np.array([trace.log_posterior for trace in traces]),
        "frozen_at": traces[0].frozen_at,
        "steps": len(traces[0].log_posterior),
        "frames": len(frames),
        "offset": _offset(parent, members[0][0], frames[0]),
        "accuracy": accuracy,
        "hyperparameters": settings.to_dict(),
        "seed": int(payload["seed"]),
        "update": update,
        "versions": rows[0]["description"]["versions"],
        "wall_time": time.perf_counter() - started,
    }


def _frames(chunks: Sequence[Mapping[str, Any]]) -> list[dataset.Frame]:
    """Return the frames, all of one composition."""
    splits = [np.zeros(len(chunk.get("energies", ())), dtype=int) for chunk in chunks]
    frames = dataset.read_frames(chunks, splits)[dataset.TRAIN]
    compositions = {tuple(sorted(frame.numbers.tolist())) for frame in frames}
    if len(compositions) > 1:
        raise TaskError(
            "bad_input",
            f"the frames of {_WHAT} are of {len(compositions)} compositions; one energy offset serves only one:"
            " give frames of the same atoms.",
        )
    return frames


def _start(
    payload: Mapping[str, Any],
    parent: torch.nn.Module,
    frames: Sequence[dataset.Frame],
    settings: PosteriorSettings,
    dtype: torch.dtype,
) -> list[tuple[torch.nn.Module, ForceHead]]:
    """Return models and heads to go on from."""
    chains = payload.get("chains")
    if chains is None:
        predicted = _energies(parent, frames[:1])
        values = energies.new_energies("estimated", parent, head_index(parent), frames[:1], predicted)
        members = []
        for _ in range(settings.members):
            model = read(payload["model"]).to(dtype)
            energies.write(model, head_index(model), values)
            members.append((model, ForceHead(model, settings.force_sigma)))
        return members
    paths = need(chains, "models", "'chains'")
    if len(paths) != settings.members:
        raise TaskError("bad_input", f"'chains' has {len(paths)} members but the hyperparameters ask for"
                        f" {settings.members}: both must agree.")  # fmt: skip
    heads = Heads.read(need(chains, "heads", "'chains'"))
    shapes = {name: value.shape for name, value in parent.state_dict().items()}
    members = []
    for number, path in enumerate(paths):
        model = read(path).to(dtype)
        if {name: value.shape for name, value in model.state_dict().items()} != shapes:
            raise TaskError("bad_input", f"the member '{Path(path).name}' does not have the parent's weights.")
        members.append((model, heads.module(number, model)))
    return members


def _judge() -> Hyperparameters:
    return Hyperparameters.from_dict({})


def _energies(model: torch.nn.Module, frames: Sequence[dataset.Frame]) -> np.ndarray:
    data = dataset.graphs(frames, model, head_index(model))
    return np.array(loop.evaluate(model, data, _judge()).energies)


def _errors(model: torch.nn.Module, data: Sequence[AtomicData]) -> dict[str, float | None]:
    errors = loop.evaluate(model, data, _judge()).to_dict()
    return {name: value if np.isfinite(value) else None for name, value in errors.items() if name != "loss"}


def _offset(parent: torch.nn.Module, member: torch.nn.Module, frame: dataset.Frame) -> float:
    """Return by how much the parent's energies of this composition lie above the members' by reference energies."""
    before, after = reference_energies(parent), reference_energies(member)
    return float(sum(before[number] - after[number] for number in frame.numbers.tolist()))


def _ends(trace: np.ndarray) -> dict[str, float]:
    tenth = max(1, len(trace) // 10)
    return {"log_posterior_first": float(trace[:tenth].mean()), "log_posterior_last": float(trace[-tenth:].mean())}
