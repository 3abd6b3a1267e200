"""Effect sizes of proportions, and the way back.

References
----------
Freeman & Tukey 1950, Ann Math Stat 21:607; Miller 1978, Am Stat 32:138.
"""

from __future__ import annotations

from typing import Final, Literal, cast, get_args

import numpy as np
from scipy.special import expit

from ketacast.arrays import FloatArray, broadcast, frozen, real_array, refuse_where
from ketacast.effects.sizes import EffectSizes, sample_sizes
from ketacast.errors import InputError
from ketacast.options import (
    CONTINUITY_RULES,
    EFFECT_MEASURES,
    ContinuityRule,
    EffectMeasure,
    check_choice,
)

ProportionMeasure = Literal["PLO", "PFT", "PAS", "PR"]
PROPORTION_MEASURES: Final[tuple[ProportionMeasure, ...]] = get_args(ProportionMeasure)

#: Added to both cells where the continuity rule applies. The arcsine measures
#: have finite values and variances at 0 and n, so nothing is added to them.
DEFAULT_ADD: Final[dict[str, float]] = {"PLO": 0.5, "PR": 0.5, "PAS": 0.0, "PFT": 0.0}


def proportion_effect(
    events: object,
    n: object,
    measure: ProportionMeasure = "PLO",
    *,
    to: ContinuityRule = "only0",
    add: float | None = None,
) -> EffectSizes:
    """Compute effect sizes of proportions.

    Parameters
    ----------
    events, n : array_like
        Events and sample sizes; whole numbers, 0 <= events <= n, n >= 1.
        Shapes broadcast.
    measure : {"PLO", "PFT", "PAS", "PR"}
        Logit, Freeman-Tukey double arcsine (half the sum of the two
        arcsines), arcsine square root, or raw proportion.
    to : {"only0", "all", "if0all", "none"}
        Which studies receive `add`: those with 0 or n events, all, all if any
        has 0 or n events, none.
    add : float, optional
        Added to events and to non-events; 1/2 for PLO and PR, 0 for PFT and
        PAS unless given.

    Returns
    -------
    EffectSizes
        Same shape as the broadcast input.

    Raises
    ------
    InputError
        For impossible counts, and where PLO or PR would have an infinite
        effect or a zero variance because no continuity correction is made.
    """
    check_choice("measure", measure, PROPORTION_MEASURES)
    check_choice("to", to, CONTINUITY_RULES)
    x, total = _counts(events, n)
    amount = _addition(measure, add)
    added = np.where(_corrected(x, total, to), amount, 0.0)
    x_adjusted = x + added
    n_adjusted = total + 2.0 * added
    if measure in ("PLO", "PR"):
        _refuse_degenerate(x_adjusted, n_adjusted, measure, to, amount)
    yi, vi = _proportion_formula(measure, x_adjusted, n_adjusted)
    return EffectSizes(frozen(yi), frozen(vi), measure, frozen(total))


def harmonic_mean(n: object) -> float:
    """Harmonic mean of sample sizes, the n of a pooled PFT back-transform.

    Raises
    ------
    InputError
        For sample sizes that are not whole numbers >= 1.
    """
    sizes = sample_sizes("n", n, 1)
    return float(sizes.size / np.sum(1.0 / sizes))


def back_transform(values: object, measure: EffectMeasure, n: object | None = None) -> FloatArray:
    """Turn pooled effects or interval limits back into proportions.

    Parameters
    ----------
    values : array_like
        Values on the measure's scale.
    measure : str
        PLO, PFT, PAS or PR. PR is returned as it is, limits outside [0, 1]
        included, because it is on the proportion's scale already.
    n : array_like, optional
        PFT only: sample size to invert at, > 0; the study's own n, or
        :func:`harmonic_mean` of all for a pooled value. Broadcasts.

    Returns
    -------
    ndarray of float64
        Proportions. PFT and PAS values beyond the image of 0 or 1 are set to
        0 or 1.

    Raises
    ------
    InputError
        For SMD, SMCC and SMCR, which have no proportion behind them; for PFT
        without `n`; for `n` given with another measure.
    """
    check_choice("measure", measure, EFFECT_MEASURES)
    if measure not in PROPORTION_MEASURES:
        raise InputError(f"measure {measure!r} has no back-transform; report it on its own scale")
    x = real_array("values", values)
    if measure == "PFT":
        if n is None:
            raise InputError("n is missing: PFT is inverted at a sample size; give n")
        size = real_array("n", n)
        refuse_where("n", size, size <= 0.0, "must be greater than 0")
        return _inverse_double_arcsine(x, size)
    if n is not None:
        raise InputError(f"n is {n!r} but {measure} is inverted without a sample size; omit n")
    if measure == "PLO":
        return np.asarray(expit(x), dtype=np.float64)
    if measure == "PAS":
        return np.asarray(np.sin(np.clip(x, 0.0, np.pi / 2.0)) ** 2, dtype=np.float64)
    return x.copy()


def _proportion_formula(
    measure: ProportionMeasure, x: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    p = x / n
    if measure == "PLO":
        return np.log(x / (n - x)), 1.0 / x + 1.0 / (n - x)
    if measure == "PR":
        return p, p * (1.0 - p) / n
    if measure == "PAS":
        return np.arcsin(np.sqrt(p)), 1.0 / (4.0 * n)
    return _double_arcsine(x, n), 1.0 / (4.0 * n + 2.0)


def _double_arcsine(x: FloatArray, n: FloatArray) -> FloatArray:
    lower, upper = np.sqrt(x / (n + 1.0)), np.sqrt((x + 1.0) / (n + 1.0))
    return np.asarray(0.5 * (np.arcsin(lower) + np.arcsin(upper)), dtype=np.float64)


def _inverse_double_arcsine(x: FloatArray, n: FloatArray) -> FloatArray:
    # Miller's inverse is exact only between the images of 0 and n events;
    # beyond them it turns back, so those values are clamped to 0 and 1.
    x, n = broadcast("values and n", x, n)
    lowest, highest = _double_arcsine(np.zeros_like(n), n), _double_arcsine(n, n)
    inside = np.clip(x, lowest, highest)
    sine = np.sin(2.0 * inside)
    root = np.maximum(0.0, 1.0 - (sine + (sine - 1.0 / sine) / n) ** 2)
    p = 0.5 * (1.0 - np.sign(np.cos(2.0 * inside)) * np.sqrt(root))
    return np.where(x <= lowest, 0.0, np.where(x >= highest, 1.0, p))


def _counts(events: object, n: object) -> tuple[FloatArray, FloatArray]:
    x, total = real_array("events", events), sample_sizes("n", n, 1)
    refuse_where("events", x, (x < 0.0) | (x != np.round(x)), "must be a whole number, 0 or more")
    x, total = broadcast("events and n", x, total)
    beyond = x > total
    if beyond.any():
        i = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        place = f"[{', '.join(str(int(j)) for j in i)}]" if i else ""
        raise InputError(
            f"events{place} is {x[i]:g} but n{place} is {total[i]:g}; "
            "events cannot exceed n, check which is which"
        )
    return x, total


def _addition(measure: ProportionMeasure, add: float | None) -> float:
    if add is None:
        return DEFAULT_ADD[measure]
    amount = float(real_array("add", add, ndim=0))
    if amount < 0.0:
        raise InputError(f"add is {amount!r}; give 0 or more (1/2 is usual)")
    return amount


def _corrected(x: FloatArray, n: FloatArray, to: ContinuityRule) -> FloatArray:
    extreme = (x == 0.0) | (x == n)
    if to == "only0":
        return cast("FloatArray", extreme)
    chosen = to == "all" or (to == "if0all" and bool(extreme.any()))
    return cast("FloatArray", np.full(extreme.shape, chosen))


def _refuse_degenerate(
    x: FloatArray, n: FloatArray, measure: str, to: ContinuityRule, amount: float
) -> None:
    bad = (x <= 0.0) | (x >= n)
    what = "infinite" if measure == "PLO" else "without sampling variance"
    refuse_where(
        "events",
        x,
        bad,
        f"makes {measure} {what} (0 or all events, to={to!r}, add={amount:g}); use to='only0' with "
        "add=0.5, or a binomial model, which needs no correction",
    )
