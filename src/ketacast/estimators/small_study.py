"""Small-study effects of a fitted :class:`~ketacast.estimators.MetaRegression`."""

from __future__ import annotations

from ketacast.design import numbers_with_gaps
from ketacast.errors import InputError
from ketacast.estimators.normal_diagnostics import NormalDiagnostics
from ketacast.numerics.diagnostics import (
    RegressionModel,
    RegressionTest,
    SizePredictor,
    rank_test,
    regression_test,
    trim_fill,
)
from ketacast.numerics.diagnostics.small_study import RankTest
from ketacast.numerics.diagnostics.trim_fill import FunnelSide, MissingEstimator, TrimFill


class SmallStudyTests(NormalDiagnostics):
    """Whether small studies have other effects than large ones."""

    def egger_test(
        self,
        predictor: SizePredictor = "sei",
        *,
        model: RegressionModel = "random",
        sample_size: object = None,
    ) -> RegressionTest:
        """Regression test for funnel-plot asymmetry, adjusted for the fit's moderators.

        Parameters
        ----------
        predictor : {"sei", "vi", "ni", "ninv", "sqrtni", "sqrtninv"}
            Standard error, sampling variance, sample size, its inverse, its square root
            or the inverse of that.
        model : {"random", "lm"}
            The fit's own model with the predictor added, or the classical weighted
            regression (Egger et al. 1997).
        sample_size : array_like, one per study, optional
            For the last four predictors.

        Returns
        -------
        RegressionTest
            Its p-value speaks of asymmetry, which has more causes than unpublished
            studies.

        Raises
        ------
        InputError
            For unusable arguments, or a predictor that is the same in all studies.
        """
        y, v, matrix = self._data()
        fit = self.result_
        sizes = None
        if sample_size is not None:
            sizes = self._used("sample_size", sample_size)
        return regression_test(
            y,
            v,
            matrix,
            model=model,
            predictor=predictor,
            ni=None if sizes is None else numbers_with_gaps("sample_size", sizes, ndim=1),
            method=fit.method,
            test=fit.test,
            level=fit.level,
        )

    def rank_test(self) -> RankTest:
        """Test for a rank correlation of effects and sampling variances.

        Returns
        -------
        RankTest
            Kendall's tau and its p-value (Begg & Mazumdar 1994, Biometrics 50:1088).

        Raises
        ------
        InputError
            For a fit with moderators, fewer than 3 studies, or effects or variances that
            are all the same.
        """
        y, v, _ = self._data()
        self._refuse_moderators("rank_test")
        return rank_test(y, v)

    def trim_fill(
        self, *, estimator: MissingEstimator = "L0", side: FunnelSide | None = None
    ) -> TrimFill:
        """Estimate how many studies are missing on one side, and fill them in.

        Parameters
        ----------
        estimator : {"L0", "R0", "Q0"}
            Of the number of missing studies.
        side : {"left", "right"}, optional
            Where they are missing; by default where the regression test points.

        Returns
        -------
        TrimFill
            With the fit of observed and filled-in studies, by the estimator's own method
            and test: a look at what one kind of suppression could do, no better estimate.

        Raises
        ------
        InputError
            For a fit with moderators or unusable arguments.
        ConvergenceError
            If the number does not settle.
        """
        y, v, _ = self._data()
        self._refuse_moderators("trim_fill")
        fit = self.result_
        return trim_fill(
            y,
            v,
            estimator=estimator,
            side=side,
            method=fit.method,
            test=fit.test,
            level=fit.level,
        )

    def _refuse_moderators(self, method: str) -> None:
        if self.result_.p > 1 or self.result_.intercept is None:
            listed = ", ".join(repr(str(name)) for name in self.coef_names_)
            raise InputError(
                f"{method} is for a fit of the intercept alone, this one has {listed}; fit X=None, "
                "or use egger_test, which adjusts for moderators"
            )
