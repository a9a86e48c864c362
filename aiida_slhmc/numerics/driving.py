"""Drive trajectories that ask for evaluations: one by one, or several at once on a potential that takes batches.

A trajectory is a generator that yields the points it wants evaluated and is sent their evaluations; so the integrators
know nothing of batches, and the same code runs in both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from .potential import Array, Evaluation, Potential

#: Positions (N, 3) in Å and cell (3, 3) in Å.
Point = tuple[Array, Array]
T = TypeVar("T")
#: Yields points, is sent evaluations, returns its result.
Driven = Generator[Point, Evaluation, T]


def run(path: Driven[T], potential: Potential) -> T:
    """Run one trajectory to its end.

    :param path: the trajectory.
    :param potential: what evaluates its points.
    :returns: what the trajectory returns.
    """
    try:
        point = next(path)
        while True:
            point = path.send(potential.evaluate(*point))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def run_together(
    paths: Sequence[Driven[T]], evaluate_many: Callable[[Sequence[Point]], Sequence[Evaluation]]
) -> list[T]:
    """Run several trajectories in step; each leaves when it is done.

    :param paths: the trajectories; they may differ in length.
    :param evaluate_many: evaluates the points of all that still run, in one batch.
    :returns: their results, in order.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Point] = {}
    for index, path in enumerate(paths):
        try:
            waiting[index] = next(path)
        except StopIteration as end:
            results[index] = end.value
    while waiting:
        answers = evaluate_many(list(waiting.values()))
        for index, answer in zip(list(waiting), answers, strict=True):
            try:
                waiting[index] = paths[index].send(answer)
            except StopIteration as end:
                del waiting[index]
                results[index] = end.value
    return [results[index] for index in range(len(paths))]
