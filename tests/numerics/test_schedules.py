from __future__ import annotations

import pytest

from aiida_slhmc.numerics.schedules import cosine, ramp


def test_cosine_of_the_paper() -> None:
    first = 1e-3
    assert cosine(0, 2000, first) == pytest.approx(first + 1e-8, rel=1e-14)
    assert cosine(1000, 2000, first) == pytest.approx(first / 2 + 1e-8, rel=1e-14)
    assert cosine(1999, 2000, first) == pytest.approx(1e-8 + 6.17e-7 * first, rel=1e-4)


def test_cosine_repeats_and_falls_within_a_cycle() -> None:
    sizes = [cosine(step, 10, 0.5) for step in range(20)]
    assert sizes[:10] == sizes[10:]
    assert sizes[:10] == sorted(sizes[:10], reverse=True)
    assert min(sizes) > 0


def test_noise_is_off_then_rises_over_its_ramp() -> None:
    assert [ramp(step, 400, 100) for step in (0, 399, 400, 449, 499, 500, 1999)] == [0, 0, 0.01, 0.5, 1, 1, 1]
    assert [ramp(step, 2, 0) for step in (0, 1, 2, 3)] == [0, 0, 1, 1]
    assert ramp(0, 0, 0) == 1.0


def test_what_makes_no_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="no step 3 in cycles of 0"):
        cosine(3, 0, 1.0)
    with pytest.raises(ValueError, match="no step -1"):
        cosine(-1, 5, 1.0)
    with pytest.raises(ValueError, match="at least 0"):
        ramp(-1, 0, 0)
