"""Binomial-normal meta-regression of proportions by exact maximum likelihood."""

from __future__ import annotations

from ketacast.numerics.binomial.fitting import DEFAULT_NODES, fit_binomial, predict_binomial
from ketacast.numerics.binomial.profile import BinomialTau2Interval, binomial_tau2_interval
from ketacast.numerics.binomial.result import (
    BINOMIAL_TESTS,
    BinomialFit,
    BinomialTest,
    LikelihoodRatio,
    likelihood_ratio,
)
from ketacast.numerics.binomial.studies import binomial_leave_one_out, binomial_study_logits

__all__ = [
    "BINOMIAL_TESTS",
    "DEFAULT_NODES",
    "BinomialFit",
    "BinomialTau2Interval",
    "BinomialTest",
    "LikelihoodRatio",
    "binomial_leave_one_out",
    "binomial_study_logits",
    "binomial_tau2_interval",
    "fit_binomial",
    "likelihood_ratio",
    "predict_binomial",
]
