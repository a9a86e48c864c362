"""When not to trust a chain: plain sentences from its diagnostics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: R-hat above which chains (or the halves of one) disagree: bound for short chains with expensive labels, strict bound.
RHAT_BOUND, RHAT_STRICT = 1.05, 1.01
#: Independent samples below which a production run's means and error bars are not to be trusted.
ESS_BOUND = 50
#: A chain shorter than this many autocorrelation times cannot tell its autocorrelation time.
LENGTH_IN_TAU = 20
#: Acceptance below which nearly all labels go into repeats.
ACCEPTANCE_BOUND = 0.1
#: Ratio between the model error that the acceptance implies and the measured one, and the distance in standard errors,
#: beyond which something else than the model's error decides on the acceptance.
ERROR_FACTOR, ERROR_SIGMAS = 2.0, 2.0
#: Deviation of <exp(-delta/kT)> from 1 in standard errors, and the acceptance below which its error bar is unreliable.
CREUTZ_BOUND, CREUTZ_ACCEPTANCE = 4.0, 0.3
#: Fraction of cycles without a label (divergent trajectories) that is too many.
DIVERGENT_BOUND = 0.05
#: Cycles of a chain below which autocorrelation, R-hat and the Creutz identity say nothing.
MINIMUM_CYCLES = 20

ADAPTIVE = (
    "The states are target-guided, not an exact sample: model and proposal length followed the chains' own past. "
    "Take averages from a production phase."
)
TOO_SHORT = (
    "{cycles:.0f} cycles a chain are too few to judge autocorrelation, R-hat and the Creutz identity "
    f"(at least {MINIMUM_CYCLES}): run more cycles before trusting an average."
)


def too_short(report: Mapping[str, Any]) -> bool:
    """Return whether the chains are too short for most diagnostics.

    :param report: ``cycles`` over all ``chains``.
    """
    return bool(report["cycles"] < MINIMUM_CYCLES * max(1, report["chains"]))


def warnings_of(report: Mapping[str, Any]) -> list[str]:
    """Return what in the diagnostics of chains says not to trust them, one sentence each, with what to do.

    Adaptive blocks are short on purpose and feed no average: of them only acceptance, rejections without a label and
    the source of the model's error are judged, and R-hat where the chains are long enough to mean it. A number that is
    missing or not known gives no warning.

    :param report: as of :func:`aiida_slhmc.analysis.chains.diagnose`; parts of it may be missing.
    """
    found = [*_acceptance(report), *_divergent(report), *_label_failed(report), *_model_error(report)]
    if too_short(report):
        return [*found, TOO_SHORT.format(cycles=report["cycles"] / max(1, report["chains"]))]
    return [*found, *_creutz(report), *_observables(report)]


def _known(group: Mapping[str, Any], name: str) -> float | None:
    value = group.get(name)
    return None if value is None or math.isnan(value) else float(value)


def _acceptance(report: Mapping[str, Any]) -> list[str]:
    group = report.get("acceptance", {})
    # The interval, not the value: 0 of 8 is no news.
    if not group.get("interval") or group["interval"][1] >= ACCEPTANCE_BOUND:
        return []
    remedy = (
        "train the model further or shorten the proposals before production"
        if report.get("kind") == "production"
        else "shorten the proposals, or let the next fine-tuning improve the model"
    )
    return [
        f"The acceptance is {group['value']:.2f} ({group['accepted']} of {report['cycles']}), below "
        f"{ACCEPTANCE_BOUND}: most states are repeats; {remedy}."
    ]


def _divergent(report: Mapping[str, Any]) -> list[str]:
    group = report.get("divergent", {})
    if not group.get("interval") or group["interval"][0] <= DIVERGENT_BOUND:
        return []
    return [
        f"{group['count']} of {report['cycles']} cycles ({100 * group['fraction']:.0f} %) were rejected without a "
        f"label (divergent trajectory or failed label), more than {100 * DIVERGENT_BOUND:.0f} %: shorten the time "
        "step, or look at the reasons in the decisions."
    ]


def _label_failed(report: Mapping[str, Any]) -> list[str]:
    count = report.get("label_failed", {}).get("count", 0)
    if not count:
        return []
    return [
        f"{count} of {report['cycles']} cycles were rejected because their label failed (failure.policy is reject): "
        "such states are left out, and the ensemble is the target's only if failure is a property of the state. Mend "
        "the engine, or run with failure.policy: stop."
    ]


def _model_error(report: Mapping[str, Any]) -> list[str]:
    group = report.get("model_error", {})
    implied, measured = _known(group, "implied"), _known(group, "measured")
    if not implied or not measured:
        return []
    significant = abs(implied - measured) > ERROR_SIGMAS * (_known(group, "implied_error") or math.inf)
    numbers = f"{1000 * implied:.1f} meV a cell, the measured energy RMSE is {1000 * measured:.1f} meV a cell"
    if significant and implied > ERROR_FACTOR * measured:
        return [
            f"The acceptance implies a model error of {numbers}, less by more than a factor {ERROR_FACTOR:g}: "
            "something else than the model's error rejects; try a shorter time step, and check that the labels are "
            "converged."
        ]
    if significant and measured > ERROR_FACTOR * implied:
        return [
            f"The acceptance implies a model error of {numbers}, more by more than a factor {ERROR_FACTOR:g}: the "
            "proposals end near their starts, or the RMSE stems from other states than the chain's; try longer "
            "proposals."
        ]
    return []


def _creutz(report: Mapping[str, Any]) -> list[str]:
    z = _known(report.get("creutz", {}), "z")
    frozen = report.get("kind") == "production"
    if z is None or not frozen or report["acceptance"]["value"] <= CREUTZ_ACCEPTANCE or abs(z) <= CREUTZ_BOUND:
        return []
    mean, error = report["creutz"]["mean"], report["creutz"]["error"]
    return [
        f"<exp(-delta/kT)> is {mean:.3f} ± {error:.3f}, {abs(z):.1f} errors from 1: the chains were not stationary yet "
        "(leave out their beginning, or go on), or the kernel was not frozen or not reversible."
    ]


def _observables(report: Mapping[str, Any]) -> list[str]:
    found = []
    production = report.get("kind") == "production"
    length = report["cycles"] / max(1, report["chains"])
    apart: list[str] = []
    few: list[str] = []
    long: list[str] = []
    for name, group in report.get("observables", {}).items():
        what = name.replace("_", " ")
        rhat, ess, tau = (_known(group, key) for key in ("rhat", "ess", "tau"))
        trusted = production or (ess is not None and ess >= ESS_BOUND)
        if rhat is not None and rhat > RHAT_BOUND and trusted:
            apart.append(f"{what} {rhat:.2f}")
        if not production:
            continue
        if ess is not None and ess < ESS_BOUND:
            few.append(f"{what} {ess:.0f}")
        elif tau is not None and length < LENGTH_IN_TAU * tau:
            long.append(f"{what} {tau:.1f} cycles")
    if apart:
        found.append(
            f"R-hat is above {RHAT_BOUND} ({RHAT_STRICT} is the strict bound): {', '.join(apart)}. The chains, or the "
            "halves of a chain, disagree: go on, and leave out the beginning."
        )
    if few:
        found.append(
            f"Fewer than {ESS_BOUND} independent samples: {', '.join(few)}. Error bars of means are unreliable: go on "
            "with more production cycles."
        )
    if long:
        found.append(
            f"The chains of {length:.0f} cycles are shorter than {LENGTH_IN_TAU} autocorrelation times: "
            f"{', '.join(long)}. The times themselves are uncertain: go on, or take longer proposals."
        )
    return found
