"""Cluster-robust inference of the estimators whose weights come from a covariance."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Final

import numpy as np
import pandas as pd

from ketacast.arrays import FloatArray
from ketacast.design import DataWarning
from ketacast.estimators.tables import Result
from ketacast.estimators.wald import WaldEstimator
from ketacast.numerics.robust import robust_covariance
from ketacast.numerics.robust_fit import LEAST_SHARE, RobustFit, RobustKind

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
            record: the same as arrays, the covariance, the joint test (moderators; None
            where too few clusters bear on it) and `predict`.

        Raises
        ------
        InputError
            For unusable labels, no more clusters than coefficients, a coefficient that
            one cluster alone decides, or effects without residual spread.

        Warns
        -----
        DataWarning
            If the standard error of a coefficient, the joint test or the means of rows of
            the fit rest on too few clusters by construction, as for a level that only one
            cluster has: for CR2 where that biases the variance at all, for CR0 and CR1
            (always too small with few clusters) below 30 % of the model's variance.
        """
        y, matrix, covariance = self._working()
        labels = self._clusters() if cluster is None else self._used("cluster", cluster)
        found = robust_covariance(
            y, matrix, covariance, labels, kind=kind, level=self._level(level)
        )
        self._warn_of_small_errors(found, matrix)
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

    def _warn_of_small_errors(self, found: RobustFit, matrix: FloatArray) -> None:
        # CR0 and CR1 are known to be too small with few clusters, but not by that much.
        enough = WHOLE if found.kind == "CR2" else LEAST_SHARE
        told = []
        small = found.expected_share < enough
        if small.any():
            listed = ", ".join(
                f"{name} ({share:.0%})"
                for name, share in zip(
                    self.coef_names_[small], found.expected_share[small], strict=True
                )
            )
            told.append(f"the variances of {listed}")
        share = found.moderators_share
        if share < enough:
            withheld = ", so there is none" if share < LEAST_SHARE else ""
            told.append(f"the joint test (in one direction {share:.0%}{withheld})")
        rows = np.flatnonzero(found.share_of(matrix) < LEAST_SHARE)
        if rows.size:
            told.append(
                f"the means of {rows.size} row(s) of the fit such as "
                f"{self.studies_.labels[rows[0]]!r}, which predict gives without standard errors"
            )
        if not told:
            return
        warnings.warn(
            "robust variances that are expected to be below the true ones even if the model holds "
            f"(percent: what shows of them): {'; '.join(told)}. Such a result rests on too few "
            "clusters, so do not rely on it, merge levels or clusters",
            DataWarning,
            stacklevel=3,
        )

    @abstractmethod
    def _working(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Effects, design and working covariance of the fit."""

    def _clusters(self) -> object:
        return list(range(self.studies_.y.size))
