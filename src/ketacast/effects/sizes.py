"""The result type of every effect-size function, and the checks they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketacast.arrays import FloatArray, real_array, refuse_where
from ketacast.options import EffectMeasure


@dataclass(frozen=True, slots=True)
class EffectSizes:
    """Effect sizes with their sampling variances.

    Attributes
    ----------
    yi : ndarray of float64
        Effect sizes on the measure's own scale.
    vi : ndarray of float64
        Sampling variances, same shape.
    measure : str
        One of :data:`ketacast.options.EFFECT_MEASURES`.
    n : ndarray of float64
        Sample sizes (total of both groups for SMD), same shape.
    """

    yi: FloatArray
    vi: FloatArray
    measure: EffectMeasure
    n: FloatArray


def deviations(name: str, value: object) -> FloatArray:
    """Check standard deviations: finite and greater than 0."""
    array = real_array(name, value)
    refuse_where(name, array, array <= 0.0, "must be greater than 0")
    return array


def sample_sizes(name: str, value: object, least: int) -> FloatArray:
    """Check sample sizes: whole numbers, `least` or more."""
    array = real_array(name, value)
    bad = (array < least) | (array != np.round(array))
    refuse_where(name, array, bad, f"must be a whole number, {least} or more")
    return array
