"""Diagnostics per study of a fitted :class:`~ketacast.estimators.MetaRegression`."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray
from ketacast.estimators.wald import WaldEstimator
from ketacast.numerics.diagnostics import (
    blup,
    cluster_influence,
    influence,
    leave_one_out,
    residuals,
)
from ketacast.numerics.normal import NormalFit


class NormalDiagnostics(WaldEstimator):
    """Each study against the fit."""

    result_: NormalFit

    def blup(self, *, level: float | None = None) -> pd.DataFrame:
        """Shrunken estimates of the studies' true effects (empirical Bayes).

        Parameters
        ----------
        level : float, optional
            Coverage of the bounds; the estimator's own by default.

        Returns
        -------
        DataFrame
            One row per study in the fit: effect (fitted mean plus random effect), se,
            ci_lb, ci_ub; random (the random effect alone), random_se, random_ci_lb,
            random_ci_ub; shrinkage, the share of the residual that is kept.

        Raises
        ------
        InputError
            For a level outside 0 to 1.
        """
        y, v, matrix = self._data()
        found = blup(self.result_, y, v, matrix, level=level)
        names = {
            f"{of}_{name}": f"{start}{column}"
            for of, start in (("effect", ""), ("random", "random_"))
            for name, column in (("se", "se"), ("lb", "ci_lb"), ("ub", "ci_ub"))
        }
        return self._per_study(found, skip=("level",)).rename(columns=names)

    def residuals(self) -> pd.DataFrame:
        """Distances of the studies from the fitted line.

        Returns
        -------
        DataFrame
            One row per study: fitted, response (raw residual), pearson, se, standardised
            (internally), leverage.
        """
        data = self._data()
        return self._per_study(residuals(self.result_, *data))

    def influence(self, groups: object = None) -> pd.DataFrame:
        """How much each study, or each cluster of studies, moves the fit.

        Parameters
        ----------
        groups : array_like, one label per study given to `fit` (or in the fit), or None
            Clusters that are left out together.

        Returns
        -------
        DataFrame
            One row per study: rstudent, deleted_residual, deleted_se, rstandard, dffits,
            cook_d, cov_r, tau2_del, qe_del, hat, weight (percent), dfbetas_<name>,
            is_influential, solvable. One row per cluster, with `groups`: n_studies,
            cook_d, cov_r, tau2_del, qe_del, dfbetas_<name>, solvable.

        Raises
        ------
        InputError
            For unusable labels.
        """
        y, v, matrix = self._data()
        fit = self.result_
        if groups is None:
            return self._per_study(influence(y, v, matrix, method=fit.method, test=fit.test))
        clusters = cluster_influence(
            y, v, matrix, self._used("groups", groups), method=fit.method, test=fit.test
        )
        return self._unpacked(clusters, pd.Index(clusters.labels, name="group"), ("labels",))

    def leave_one_out(self, groups: object = None) -> pd.DataFrame:
        """Refit without each study, or without each cluster of studies, in turn.

        Parameters
        ----------
        groups : array_like, one label per study given to `fit` (or in the fit), or None
            Clusters that are left out together.

        Returns
        -------
        DataFrame
            One row per study (or cluster) left out: coefficients as beta_<name> with
            se_, statistic_, p_value_, ci_lb_ and ci_ub_ (beta_intercept where there is
            no other); tau2, i2, h2, qe, qe_p, n_studies, solvable (False, and NaN, where
            the rest cannot be fitted).

        Raises
        ------
        InputError
            For unusable labels.
        """
        data, fit = self._data(), self.result_
        names = None if groups is None else self._used("groups", groups)
        found = leave_one_out(
            *data, groups=names, method=fit.method, test=fit.test, level=fit.level
        )
        labels = self.studies_.labels if groups is None else pd.Index(found.labels, name="group")
        return self._unpacked(found, labels, ("labels",))

    def _data(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        check_is_fitted(self)
        studies = self.studies_
        return studies.y, studies.numbers["sampling_variance"], studies.matrix

    def _per_study(self, record: Any, skip: tuple[str, ...] = ()) -> pd.DataFrame:
        return self._unpacked(record, self.studies_.labels, skip)
