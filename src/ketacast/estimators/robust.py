"""Cluster-robust inference of the estimators whose weights come from a covariance."""

from __future__ import annotations

import warnings
from typing import Final

import pandas as pd

from ketacast.arrays import FloatArray
from ketacast.design import DataWarning
from ketacast.estimators.tables import Result
from ketacast.estimators.wald import WaldEstimator
from ketacast.numerics.robust import robust_covariance
from ketacast.numerics.robust_fit import RobustFit, RobustKind

#: A CR2 variance is unbiased under the model, so its share is 1 but for rounding.
WHOLE: Final = 1.0 - 1e-6


class RobustInference(WaldEstimator):
    """Inference that holds when estimates within a cluster depend on each other."""

    def robust(
        self, cluster: object = None, *, kind: RobustKind = "CR2", level: float | None = None
    ) -> Result:
        """Coefficients with cluster-robust standard errors.

        Parameters
        ----------
        cluster : array_like, one label per row given to `fit` (or in the fit)
            Clusters, independent of each other; by default every row is one (or, in a
            multilevel fit, every group).
        kind : {"CR2", "CR1", "CR0"}
            Unbiased where the fit's own covariance holds, with Satterthwaite degrees of
            freedom; the factor n / (n - p) for n clusters; or no correction.
        level : float, optional
            Coverage of the intervals; the estimator's own by default.

        Returns
        -------
        Result
            table: estimate, se, statistic, df, p_value, ci_lb, ci_ub per coefficient;
            record: the same as arrays, the covariance and the joint test (moderators).

        Raises
        ------
        InputError
            For unusable labels, or no more clusters than coefficients.

        Warns
        -----
        DataWarning
            If a coefficient's standard error is too small by construction, as for a
            level that only one cluster has.
        """
        y, matrix, covariance = self._working()
        labels = self._clusters() if cluster is None else self._used("cluster", cluster)
        found = robust_covariance(
            y, matrix, covariance, labels, kind=kind, level=self._level(level)
        )
        if kind == "CR2":  # the others are known to be too small with few clusters
            self._warn_of_small_errors(found)
        table = pd.DataFrame(
            {
                "estimate": found.beta,
                "se": found.se,
                "statistic": found.statistic,
                "df": found.df,
                "p_value": found.p_value,
                "ci_lb": found.ci_lower,
                "ci_ub": found.ci_upper,
            },
            index=pd.Index(self.coef_names_, name="coefficient"),
        )
        return Result(table, found)

    def _warn_of_small_errors(self, found: RobustFit) -> None:
        small = found.expected_share < WHOLE
        if not small.any():
            return
        listed = ", ".join(
            f"{name} ({share:.0%})"
            for name, share in zip(
                self.coef_names_[small], found.expected_share[small], strict=True
            )
        )
        warnings.warn(
            f"robust variances that are expected to be below the true ones even if the model "
            f"holds: {listed} of it; such a coefficient rests on too few clusters, so do not rely "
            "on its standard error, merge levels or clusters",
            DataWarning,
            stacklevel=3,
        )

    def _working(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Effects, design and working covariance of the fit."""
        raise NotImplementedError

    def _clusters(self) -> object:
        return list(range(self.studies_.y.size))
