from __future__ import annotations

import itertools

import numpy as np
import pytest

from aiida_slhmc.numerics.randomness import Purpose, generator

#: A normal, a uniform and an integer number of version 0.1.
STORED = (1.8125133866670946, 0.20066723991774948, 7)


def test_same_place_gives_same_numbers() -> None:
    first = generator(3, 1, 41, Purpose.MOMENTA).standard_normal(8)
    assert np.array_equal(first, generator(3, 1, 41, Purpose.MOMENTA).standard_normal(8))


def test_the_numbers_of_a_release_stay() -> None:
    # Stored runs replay from their seeds: these values may never change.
    assert generator(2026, 2, 17, Purpose.MOMENTA).standard_normal() == STORED[0]
    assert generator(2026, 2, 17, Purpose.ACCEPTANCE).random() == STORED[1]
    assert generator(2026, 2, 17, Purpose.LENGTH).integers(5, 16) == STORED[2]


def test_every_place_has_its_own_numbers() -> None:
    places = itertools.product((0, 1), (0, 1, 2), (0, 1, 2), Purpose)
    first = [generator(*place).random() for place in places]
    assert len(set(first)) == len(first) == 2 * 3 * 3 * len(Purpose)


def test_purposes_are_uncorrelated() -> None:
    a = np.array([generator(1, 0, cycle, Purpose.LENGTH).random() for cycle in range(2000)])
    b = np.array([generator(1, 0, cycle, Purpose.ACCEPTANCE).random() for cycle in range(2000)])
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(2000)
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4 / np.sqrt(2000)


@pytest.mark.parametrize("place", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_negative_numbers_are_refused(place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        generator(*place, Purpose.SPLIT)
