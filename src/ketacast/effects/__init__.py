"""Effect sizes and sampling variances from counts, means and standard deviations.

Proportions: logit (PLO), Freeman-Tukey double arcsine (PFT), arcsine (PAS)
and raw (PR). Differences: standardised mean difference of two groups (SMD)
and standardised mean change of one group, by the SD of the change (SMCC) or
by a raw SD (SMCR). Mean differences carry Hedges' exact bias correction.
"""

from __future__ import annotations

from ketacast.effects.differences import (
    CHANGE_MEASURES,
    CHANGE_VARIANCES,
    DIFFERENCE_VARIANCES,
    ChangeMeasure,
    ChangeVariance,
    DifferenceVariance,
    bias_correction,
    change_sd,
    standardised_mean_change,
    standardised_mean_difference,
)
from ketacast.effects.proportions import (
    DEFAULT_ADD,
    PROPORTION_MEASURES,
    ProportionMeasure,
    back_transform,
    harmonic_mean,
    proportion_effect,
)
from ketacast.effects.sizes import EffectSizes

__all__ = [
    "CHANGE_MEASURES",
    "CHANGE_VARIANCES",
    "DEFAULT_ADD",
    "DIFFERENCE_VARIANCES",
    "PROPORTION_MEASURES",
    "ChangeMeasure",
    "ChangeVariance",
    "DifferenceVariance",
    "EffectSizes",
    "ProportionMeasure",
    "back_transform",
    "bias_correction",
    "change_sd",
    "harmonic_mean",
    "proportion_effect",
    "standardised_mean_change",
    "standardised_mean_difference",
]
