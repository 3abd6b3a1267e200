"""Random-effects meta-regression in the normal-normal model."""

from __future__ import annotations

from ketacast.numerics.normal.fitting import (
    fit_normal,
    fit_normal_batch,
    predict_normal,
    tau2_without_moderators,
)
from ketacast.numerics.normal.heterogeneity import (
    INTERVAL_KINDS,
    HeterogeneityInterval,
    IntervalKind,
    LikelihoodMethod,
    ProfileLikelihood,
    profile_likelihood,
    tau2_interval,
)
from ketacast.numerics.normal.result import NORMAL_TESTS, NormalFit, NormalFits, NormalTest
from ketacast.numerics.normal.tau2 import TAU2_METHODS, Tau2Method

__all__ = [
    "INTERVAL_KINDS",
    "NORMAL_TESTS",
    "TAU2_METHODS",
    "HeterogeneityInterval",
    "IntervalKind",
    "LikelihoodMethod",
    "NormalFit",
    "NormalFits",
    "NormalTest",
    "ProfileLikelihood",
    "Tau2Method",
    "fit_normal",
    "fit_normal_batch",
    "predict_normal",
    "profile_likelihood",
    "tau2_interval",
    "tau2_without_moderators",
]
