from __future__ import annotations

import pytest

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.posterior.settings import PosteriorSettings


def test_defaults_are_the_papers() -> None:
    settings = PosteriorSettings.from_dict({})
    assert (settings.members, settings.steps_per_label, settings.batch_size) == (8, 2000, 5)
    assert (settings.step_size, settings.prior_sd, settings.friction) == (1e-3, 0.5, 0.1)
    assert (settings.decay, settings.eps, settings.freeze) == (0.999, 1e-4, 0.5)
    # The first 400 of 2000 steps without noise, which rises over the next 100.
    assert (settings.noise_off * 2000, settings.noise_ramp * 2000) == (400, 100)
    assert PosteriorSettings.from_dict(settings.to_dict()) == settings


def test_whole_numbers_may_come_as_floats() -> None:
    assert PosteriorSettings.from_dict({"members": 4.0, "prior_sd": 1}).members == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"member": 4}, "Did you mean 'members'"),
        ({"xyz": 4}, "Known are: members"),
        ({"members": 1}, "members must lie between 2 and 1000"),
        ({"members": 2.5}, "whole number"),
        ({"members": True}, "finite number"),
        ({"prior_sd": float("nan")}, "finite number"),
        ({"prior_sd": "0.5"}, "finite number"),
        ({"dtype": "float16"}, "float64 or float32"),
        ({"friction": 0.0}, "friction must lie"),
    ],
)
def test_bad_settings_are_named(values, message) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        PosteriorSettings.from_dict(values)
    assert caught.value.kind == "bad_input"
