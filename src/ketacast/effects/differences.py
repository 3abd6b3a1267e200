"""Standardised mean differences and standardised mean changes.

References
----------
Hedges 1981, J Educ Stat 6:107; Hedges & Olkin 1985, Statistical Methods for
Meta-Analysis; Becker 1988, Br J Math Stat Psychol 41:257; Morris & DeShon
2002, Psychol Methods 7:105.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from scipy.special import gammaln

from ketacast.arrays import FloatArray, broadcast, frozen, real_array, refuse_where
from ketacast.effects.sizes import EffectSizes, deviations, sample_sizes
from ketacast.errors import InputError
from ketacast.options import check_choice

ChangeMeasure = Literal["SMCC", "SMCR"]
DifferenceVariance = Literal["LS", "LS2", "UB", "AV"]
ChangeVariance = Literal["LS", "LS2"]

CHANGE_MEASURES: Final[tuple[ChangeMeasure, ...]] = get_args(ChangeMeasure)
DIFFERENCE_VARIANCES: Final[tuple[DifferenceVariance, ...]] = get_args(DifferenceVariance)
CHANGE_VARIANCES: Final[tuple[ChangeVariance, ...]] = get_args(ChangeVariance)


def standardised_mean_difference(
    *,
    mean_1: object,
    sd_1: object,
    n_1: object,
    mean_2: object,
    sd_2: object,
    n_2: object,
    variance: DifferenceVariance = "LS",
) -> EffectSizes:
    """Compute Hedges' g of two independent groups, group 1 minus group 2.

    Parameters
    ----------
    mean_1, sd_1, n_1, mean_2, sd_2, n_2 : array_like
        Means, SDs (> 0) and sample sizes (whole, >= 2) of the groups; shapes
        broadcast. g is in units of the pooled SD.
    variance : {"LS", "LS2", "UB", "AV"}
        Large-sample, large-sample of the corrected d, unbiased, or with the
        sample-size weighted mean of g in place of each g.

    Returns
    -------
    EffectSizes
        ``n`` is the sum of both groups.

    Raises
    ------
    InputError
        For unusable means, SDs or sample sizes.
    """
    check_choice("variance", variance, DIFFERENCE_VARIANCES)
    m1, s1, n1, m2, s2, n2 = broadcast(
        "means, SDs and sample sizes",
        real_array("mean_1", mean_1),
        deviations("sd_1", sd_1),
        sample_sizes("n_1", n_1, 2),
        real_array("mean_2", mean_2),
        deviations("sd_2", sd_2),
        sample_sizes("n_2", n_2, 2),
    )
    df = n1 + n2 - 2.0
    pooled = np.sqrt(((n1 - 1.0) * s1**2 + (n2 - 1.0) * s2**2) / df)
    correction = bias_correction(df)
    d = (m1 - m2) / pooled
    g = correction * d
    total = n1 + n2
    base = 1.0 / n1 + 1.0 / n2
    if variance == "LS":
        vi = base + g**2 / (2.0 * total)
    elif variance == "LS2":
        vi = correction**2 * (base + d**2 / (2.0 * total))
    elif variance == "UB":
        vi = base + (1.0 - (df - 2.0) / (df * correction**2)) * g**2
    else:
        average = float(np.sum(total * g) / np.sum(total))
        vi = base + average**2 / (2.0 * total)
    return EffectSizes(frozen(g), frozen(vi), "SMD", frozen(total))


def standardised_mean_change(
    change: object,
    sd: object,
    n: object,
    *,
    measure: ChangeMeasure = "SMCC",
    correlation: object | None = None,
    variance: ChangeVariance = "LS",
) -> EffectSizes:
    """Compute the bias-corrected standardised mean change of one group.

    Parameters
    ----------
    change : array_like
        Mean change; the sign is kept, so give improvement as positive where
        that is wanted.
    sd : array_like
        SMCC: SD of the change (see :func:`change_sd`). SMCR: the raw SD to
        standardise by, usually that at baseline. > 0.
    n : array_like
        Number of paired observations (whole, >= 3).
    measure : {"SMCC", "SMCR"}
        Standardise by the SD of the change or by a raw SD.
    correlation : array_like, optional
        Pre-post correlation in (-1, 1); needed for SMCR, where it enters the
        variance, and refused for SMCC, where the SD already carries it.
    variance : {"LS", "LS2"}
        Large-sample, or large-sample of the corrected d.

    Returns
    -------
    EffectSizes
        Same shape as the broadcast input.

    Raises
    ------
    InputError
        For unusable values or a missing or superfluous correlation.
    """
    check_choice("measure", measure, CHANGE_MEASURES)
    check_choice("variance", variance, CHANGE_VARIANCES)
    factor = _change_factor(measure, correlation)
    mean, spread, size, factor = broadcast(
        "change, sd, n and correlation",
        real_array("change", change),
        deviations("sd", sd),
        sample_sizes("n", n, 3),
        factor,
    )
    correction = bias_correction(size - 1.0)
    d = mean / spread
    g = correction * d
    if variance == "LS":
        vi = factor / size + g**2 / (2.0 * size)
    else:
        vi = correction**2 * (factor / size + d**2 / (2.0 * size))
    return EffectSizes(frozen(g), frozen(vi), measure, frozen(size))


def change_sd(sd_pre: object, sd_post: object, correlation: object) -> FloatArray:
    """SD of the change score from the SDs before and after and their correlation.

    Raises
    ------
    InputError
        For SDs <= 0 or correlations outside (-1, 1).
    """
    before, after = deviations("sd_pre", sd_pre), deviations("sd_post", sd_post)
    r = _correlations(correlation)
    return np.asarray(np.sqrt(before**2 + after**2 - 2.0 * r * before * after), dtype=np.float64)


def bias_correction(df: FloatArray) -> FloatArray:
    """Hedges' exact small-sample correction J(df), through log-gamma so that it never overflows.

    ``J = gamma(df / 2) / (sqrt(df / 2) gamma((df - 1) / 2))``, df >= 2.
    """
    half = np.asarray(df, dtype=np.float64) / 2.0
    log_j = gammaln(half) - 0.5 * np.log(half) - gammaln(half - 0.5)
    return np.asarray(np.exp(log_j), dtype=np.float64)


def _change_factor(measure: ChangeMeasure, correlation: object | None) -> FloatArray:
    if measure == "SMCC":
        if correlation is not None:
            raise InputError(
                f"correlation is {correlation!r}, but the SD of the change already carries it; "
                "omit it, or use measure='SMCR' with a raw SD"
            )
        return np.ones(())
    if correlation is None:
        raise InputError("correlation is missing; SMCR needs the pre-post correlation")
    return np.asarray(2.0 * (1.0 - _correlations(correlation)), dtype=np.float64)


def _correlations(value: object) -> FloatArray:
    array = real_array("correlation", value)
    refuse_where("correlation", array, np.abs(array) >= 1.0, "must lie between -1 and 1")
    return array
