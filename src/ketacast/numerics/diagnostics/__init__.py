"""How much single studies matter, and whether small ones differ."""

from __future__ import annotations

from ketacast.numerics.diagnostics.influence import cluster_influence, hat_matrix, influence
from ketacast.numerics.diagnostics.small_study import (
    RegressionModel,
    RegressionTest,
    SizePredictor,
    fail_safe_n,
    rank_test,
    regression_test,
)
from ketacast.numerics.diagnostics.studies import blup, fitted_values, leave_one_out, residuals
from ketacast.numerics.diagnostics.trim_fill import trim_fill
from ketacast.numerics.diagnostics.variance_inflation import vif

__all__ = [
    "RegressionModel",
    "RegressionTest",
    "SizePredictor",
    "blup",
    "cluster_influence",
    "fail_safe_n",
    "fitted_values",
    "hat_matrix",
    "influence",
    "leave_one_out",
    "rank_test",
    "regression_test",
    "residuals",
    "trim_fill",
    "vif",
]
