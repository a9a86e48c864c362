"""Reference energies E0: what an isolated-atom energy becomes when the target changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers as atomic_numbers_by_symbol
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..errors import TaskError
from ..graphs import atomic_numbers
from .dataset import Frame

#: Mean energy error at the start of a training (eV/atom) that is called an offset between two levels of theory: well
#: above what separates two functionals once their reference energies are adjusted.
OFFSET_BOUND = 0.1


def fit(counts: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energies per element that fit total energies best.

    At a fixed composition many do; this is the solution of least norm, as in MACE's own ``compute_average_E0s``.

    :param counts: (F, E) atoms of each element in each frame.
    :param energies: (F,) in eV.
    :returns: (E,) in eV.
    """
    return np.asarray(np.linalg.lstsq(counts, energies, rcond=None)[0], dtype=np.float64)


def new_energies(
    policy: str,
    model: torch.nn.Module,
    head: int,
    frames: Sequence[Frame],
    predicted: NDArray[np.float64] | None,
    isolated: Mapping[str, float] | None = None,
) -> dict[int, float]:
    """Return the reference energies that a policy asks for.

    :param policy: 'foundation' keeps those of the model; 'estimated' adds the least-squares fit of target minus model
        energies; 'average' is the least-squares fit of the target energies alone; 'isolated' takes the energies of
        isolated atoms.
    :param model: the model to start from.
    :param head: number of the head.
    :param frames: training frames.
    :param predicted: (F,) energies of the model in eV; needed by 'estimated' only.
    :param isolated: energies of isolated atoms by the target in eV by symbol; needed by 'isolated' only.
    :returns: E0 in eV by atomic number, of all elements of the model: those absent from the frames keep theirs.
    :raises TaskError: ``bad_input`` if 'isolated' lacks the energy of an element of the frames.
    """
    values = dict(zip(atomic_numbers(model), _table(model)[head].tolist(), strict=True))
    if policy == "foundation":
        return values
    present = sorted({int(number) for frame in frames for number in frame.numbers})
    if policy == "isolated":
        atoms = {atomic_numbers_by_symbol[symbol]: float(energy) for symbol, energy in (isolated or {}).items()}
        lacking = [chemical_symbols[number] for number in present if number not in atoms]
        if lacking:
            raise TaskError(
                "bad_input",
                f"the policy e0 'isolated' needs the energy of an isolated atom of {', '.join(lacking)} in 'isolated'.",
            )
        return {**values, **{number: atoms[number] for number in present}}
    counts = np.array(
        [[np.count_nonzero(frame.numbers == number) for number in present] for frame in frames], dtype=float
    )
    target = np.array([frame.energy for frame in frames])
    if policy == "average":
        return {**values, **dict(zip(present, fit(counts, target).tolist(), strict=True))}
    if predicted is None:
        raise ValueError("the policy 'estimated' needs the model's energies")
    shifts = fit(counts, target - predicted)
    return {**values, **{number: values[number] + float(shift) for number, shift in zip(present, shifts, strict=True)}}


def offset(frames: Sequence[Frame], predicted: Sequence[float]) -> float:
    """Return the mean of predicted minus labelled energy.

    :param frames: labelled.
    :param predicted: (F,) energies of a model in eV.
    :returns: in eV/atom.
    """
    pairs = zip(frames, predicted, strict=True)
    return float(np.mean([(energy - frame.energy) / len(frame.numbers) for frame, energy in pairs]))


def doubts(policy: str, before: float, after: float) -> list[str]:
    """Return what the distance between two levels of theory says against a policy, one sentence each.

    :param policy: for the reference energies.
    :param before: mean of the parent's minus the target's energy in eV/atom.
    :param after: likewise with the new reference energies.
    """
    if abs(after) <= OFFSET_BOUND:
        return []
    start = (
        f"With e0 '{policy}' the training starts {1000 * after:+.0f} meV/atom from the target's energies"
        f" ({1000 * before:+.0f} before the new reference energies)"
    )
    why = {
        "foundation": "the model and the target count energies from different zeros",
        "average": "these reference energies hold the binding energy, which the model then adds a second time",
        "isolated": "the model was made with other reference energies than the target's atoms",
    }.get(policy, "the frames do not fix one shift for each element")
    return [f"{start}: {why}. What the reference energies leave, the weights must learn; 'estimated' starts near 0."]


def write(model: torch.nn.Module, head: int, values: dict[int, float]) -> None:
    """Write reference energies into a model's own buffer.

    :param model: the model, changed.
    :param head: number of the head.
    :param values: E0 in eV by atomic number, of all elements of the model.
    """
    buffer = model.atomic_energies_fn.atomic_energies
    row = torch.tensor([values[number] for number in atomic_numbers(model)], dtype=buffer.dtype)
    with torch.no_grad():
        (buffer if buffer.dim() == 1 else buffer[head]).copy_(row)


def check_written(model: torch.nn.Module, head: int, values: dict[int, float]) -> None:
    """Make sure that a model holds the reference energies it should.

    MACE 0.3.16 loses new ones when the elements do not change, and its log does not show it.

    :param model: the model.
    :param head: number of the head.
    :param values: E0 in eV by atomic number.
    :raises TaskError: ``failed`` if the buffer holds others.
    """
    held = dict(zip(atomic_numbers(model), _table(model)[head].tolist(), strict=True))
    precision = 1e-5 if model.atomic_energies_fn.atomic_energies.dtype == torch.float32 else 1e-12
    for number, value in values.items():
        if abs(held[number] - value) > precision * max(1.0, abs(value)):
            raise TaskError(
                "failed", f"the trained model holds E0 = {held[number]} eV for element {number}, not {value}."
            )


def _table(model: torch.nn.Module) -> torch.Tensor:
    return torch.atleast_2d(model.atomic_energies_fn.atomic_energies)
