"""Deterministic posterior of hierarchical models (MODEL: docs/method.md)."""

from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.hierarchical.model import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    RESPONSE,
    Priors,
    Rows,
    add_contrasts,
)
from ketacast.numerics.hierarchical.posterior import (
    Posterior,
    equal_draws,
    fit_posterior,
)

__all__ = [
    "REMISSION",
    "REMISSION_IF_RESPONSE",
    "RESPONSE",
    "EqualDraws",
    "Posterior",
    "Priors",
    "Rows",
    "add_contrasts",
    "equal_draws",
    "fit_posterior",
]
