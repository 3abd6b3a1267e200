"""Several estimates or outcomes of one study: multilevel and multivariate models."""

from __future__ import annotations

from ketacast.numerics.mixed.diagnostics import (
    cooks_distance,
    outcome_effects,
    random_effects,
    standardised_residuals,
)
from ketacast.numerics.mixed.multilevel import fit_multilevel, fit_multivariate
from ketacast.numerics.mixed.profile_intervals import (
    ProfileInterval,
    rho_profile_interval,
    tau2_profile_interval,
    variance_interval,
)
from ketacast.numerics.mixed.result import (
    MIXED_METHODS,
    MIXED_TESTS,
    MixedMethod,
    MixedTest,
    MultilevelFit,
    MultivariateFit,
)

__all__ = [
    "MIXED_METHODS",
    "MIXED_TESTS",
    "MixedMethod",
    "MixedTest",
    "MultilevelFit",
    "MultivariateFit",
    "ProfileInterval",
    "cooks_distance",
    "fit_multilevel",
    "fit_multivariate",
    "outcome_effects",
    "random_effects",
    "rho_profile_interval",
    "standardised_residuals",
    "tau2_profile_interval",
    "variance_interval",
]
