"""Each number that says not to trust a chain has its sentence, and a sound chain has none."""

import copy
import math

import pytest

from aiida_slhmc.analysis.doubts import too_short, warnings_of

SOUND = {
    "kind": "production",
    "cycles": 400,
    "chains": 2,
    "acceptance": {"value": 0.7, "accepted": 280, "interval": [0.68, 0.72]},
    "divergent": {"count": 0, "fraction": 0.0, "interval": [0.0, 0.003]},
    "model_error": {"implied": 0.015, "implied_error": 0.001, "measured": 0.014},
    "creutz": {"mean": 1.0, "error": 0.02, "z": 0.1},
    "observables": {"energy": {"rhat": 1.0, "ess": 200.0, "tau": 2.0}},
}


def changed(**groups):
    report = copy.deepcopy(SOUND)
    for name, values in groups.items():
        report[name] = {**report[name], **values} if isinstance(values, dict) else values
    return report


def test_a_sound_chain_is_not_doubted():
    assert warnings_of(SOUND) == []


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"acceptance": {"value": 0.04, "accepted": 16, "interval": [0.03, 0.05]}}, "most states are repeats"),
        ({"divergent": {"count": 60, "fraction": 0.15, "interval": [0.13, 0.17]}}, "rejected without a label|diverged"),
        ({"model_error": {"implied": 0.04, "implied_error": 0.002}}, "something else than the model's error"),
        ({"model_error": {"implied": 0.004, "implied_error": 0.001}}, "try longer proposals"),
        ({"creutz": {"mean": 1.3, "error": 0.05, "z": 6.0}}, "6.0 errors from 1"),
        ({"observables": {"energy": {"rhat": 1.2, "ess": 200.0, "tau": 2.0}}}, "R-hat is above"),
        ({"observables": {"volume": {"rhat": 1.0, "ess": 12.0, "tau": 2.0}}}, "independent samples: volume 12"),
        ({"observables": {"energy": {"rhat": 1.0, "ess": 80.0, "tau": 30.0}}}, "autocorrelation times: energy 30.0"),
    ],
)
def test_each_doubt_is_said_and_no_other(groups, says):
    (sentence,) = warnings_of(changed(**groups))
    assert any(part in sentence for part in says.split("|"))


def test_few_rejections_are_no_news():
    """The interval decides: 0 of 8 may be chance."""
    assert warnings_of(changed(acceptance={"value": 0.0, "accepted": 0, "interval": [0.0, 0.2]})) == []


def test_a_chain_that_is_too_short_says_so_instead_of_what_it_cannot_know():
    report = changed(cycles=16, observables={"energy": {"rhat": 3.0, "ess": 2.0, "tau": 8.0}})
    assert too_short(report)
    (sentence,) = warnings_of(report)
    assert "8 cycles a chain are too few" in sentence


def test_what_is_not_known_gives_no_warning():
    unknown = {"rhat": math.nan, "ess": None, "tau": math.nan}
    assert (
        warnings_of(changed(creutz={"z": math.nan}, model_error={"measured": None}, observables={"e": unknown})) == []
    )


def test_an_adaptive_block_is_not_judged_by_what_only_production_must_show():
    groups = {"creutz": {"z": 9.0}, "observables": {"energy": {"rhat": 1.0, "ess": 12.0, "tau": 30.0}}}
    assert warnings_of(changed(kind="adaptive", **groups)) == []
