"""Meta-regression of several estimates per study."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy.special import chdtrc
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray
from ketacast.design import spans
from ketacast.errors import InputError
from ketacast.estimators.base import check_flag
from ketacast.estimators.coefficients import CoefficientInference
from ketacast.estimators.effect_score import EffectScore
from ketacast.estimators.robust import RobustInference
from ketacast.estimators.studies import read_studies
from ketacast.estimators.tables import Summary, counted, shown, shown_roughly
from ketacast.numerics.binomial import LikelihoodRatio
from ketacast.numerics.inference import check_level
from ketacast.numerics.mixed import (
    MIXED_METHODS,
    MIXED_TESTS,
    MixedMethod,
    MixedTest,
    ProfileInterval,
    fit_multilevel,
    random_effects,
    variance_interval,
)
from ketacast.options import check_choice


class MultilevelMetaRegression(CoefficientInference, RobustInference, EffectScore):
    """Meta-regression with estimates nested in studies (``~ 1 | group/estimate``).

    ``y_ij = x_ij'beta + b_i + w_ij + e_ij`` with independent ``b_i ~ N(0, sigma2[0])``
    between groups, ``w_ij ~ N(0, sigma2[1])`` between the estimates of a group and
    known sampling variances of the errors.

    Parameters
    ----------
    method : {"REML", "ML"}
        Restricted or full maximum likelihood.
    test : {"t", "z"}
        Tests and intervals: t with k - p degrees of freedom, or normal.
    fit_intercept : bool
        Put an intercept first. A formula may also remove it ("- 1").
    level : float
        Coverage of intervals, 0 to 1.

    Attributes
    ----------
    coef_, se_, statistic_, p_value_ : ndarray, shape (p,)
        Coefficients, the intercept first, and their Wald tests.
    ci_, cov_, coef_names_, dropped_columns_
        As for :class:`MetaRegression`.
    sigma2_ : ndarray, shape (2,)
        Variance between groups, and between the estimates within a group. With one
        estimate per group they cannot be told apart, and the first is the whole.
    tau2_ : float
        Their sum: the variance of the true effect of a new estimate in a new group.
    I2_ : float
        Share of the total variance that is heterogeneity, percent.
    I2_components_ : ndarray, shape (2,)
        Its parts between and within groups.
    QE_, QE_df_, QE_p_, QM_, QM_df_, QM_p_
        As for :class:`MetaRegression`.
    log_likelihood_, aic_, aicc_, bic_ : float
        Of the likelihood that was maximised.
    n_studies_, n_groups_ : int
        Estimates and groups in the fit.
    n_features_in_, feature_names_in_, design_, studies_
        As for :class:`MetaRegression`.
    result_ : MultilevelFit
        The fit itself.
    """

    __metadata_request__fit: ClassVar[dict[str, str]] = {"data": UNUSED}

    def __init__(
        self,
        method: MixedMethod = "REML",
        test: MixedTest = "t",
        fit_intercept: bool = True,
        level: float = 0.95,
    ) -> None:
        self.method = method
        self.test = test
        self.fit_intercept = fit_intercept
        self.level = level

    def fit(
        self,
        X: object = None,
        y: object = None,
        *,
        sampling_variance: object = None,
        groups: object = None,
        data: object = None,
    ) -> Self:
        """Fit the meta-regression.

        Parameters
        ----------
        X, y, data
            As for :meth:`MetaRegression.fit`, one row per estimate.
        sampling_variance : array_like, shape (k,), or str
            Sampling variances, > 0; or a column of `data`.
        groups : array_like, shape (k,), or str
            Study (cohort, laboratory) of each estimate; or a column of `data`.

        Returns
        -------
        self

        Raises
        ------
        InputError
            For unusable values or options, rows that do not match, or fewer than two
            groups.
        ConvergenceError
            If the maximum of the likelihood was not reached.

        Warns
        -----
        DataWarning
            If rows are left out for missing values, or redundant columns are left out.
        """
        check_choice("method", self.method, MIXED_METHODS)
        check_choice("test", self.test, MIXED_TESTS)
        if groups is None:
            raise InputError(
                "groups is missing; give the study of each estimate, or use MetaRegression for one "
                "estimate per study"
            )
        studies = read_studies(
            X,
            y,
            numbers={"sampling_variance": sampling_variance},
            data=data,
            fit_intercept=check_flag("fit_intercept", self.fit_intercept),
            groups=groups,
        )
        fit = fit_multilevel(
            studies.y,
            studies.numbers["sampling_variance"],
            studies.matrix,
            studies.groups,
            method=self.method,
            test=self.test,
            level=check_level(self.level),
        )
        self._store_design(studies)
        self._store_wald(fit)
        self.sigma2_ = fit.sigma2
        self.tau2_ = float(fit.sigma2.sum())
        self.I2_components_ = fit.i2_components
        self.n_groups_ = fit.n_groups
        return self

    def blup(self, component: Literal["between", "within"] = "between") -> pd.DataFrame:
        """Best linear unbiased predictions of the random effects.

        Parameters
        ----------
        component : {"between", "within"}
            Of the groups, or of the estimates around their group.

        Returns
        -------
        DataFrame
            effect and se; one row per group or per estimate in the fit.

        Raises
        ------
        InputError
            For another component.
        """
        check_is_fitted(self)
        check_choice("component", component, ("between", "within"))
        found = random_effects(self.result_)
        if component == "between":
            effects, index = found.between, pd.Index(self.result_.group_labels, name="group")
        else:
            effects, index = found.within, self.studies_.labels
        return pd.DataFrame({"effect": effects.effect, "se": effects.se}, index=index)

    def variance_interval(
        self,
        component: Literal["between", "within"] = "between",
        *,
        level: float | None = None,
    ) -> ProfileInterval:
        """Profile-likelihood interval of one variance component.

        Parameters
        ----------
        component : {"between", "within"}
            Variance between groups, or between estimates within a group.
        level : float, optional
            Coverage; the estimator's own by default.

        Returns
        -------
        ProfileInterval

        Raises
        ------
        InputError
            For another component, or "within" with one estimate per group.
        ConvergenceError
            If a profile was not found.
        """
        check_is_fitted(self)
        return variance_interval(self.result_, component, level=self._level(level))

    def summary(self) -> Summary:
        """Give the fit on one screen: heterogeneity, tests and coefficients.

        Returns
        -------
        Summary
            Prints as text and renders in notebooks.
        """
        check_is_fitted(self)
        fit = self.result_
        between, within = self.I2_components_
        return self._summary(
            f"Multilevel meta-regression of {counted(fit.k, 'estimate', 'estimates')} in "
            f"{counted(fit.n_groups, 'group', 'groups')} ({fit.method}; test: {fit.test})",
            [
                ("sigma2 between, within", ", ".join(shown(float(x)) for x in self.sigma2_)),
                ("I2", f"{shown_roughly(self.I2_)} % ({between:.2f} between, {within:.2f} within)"),
            ],
        )

    def compare(self, other: MultilevelMetaRegression) -> LikelihoodRatio:
        """Likelihood-ratio test against another ML fit to the same estimates.

        Parameters
        ----------
        other : MultilevelMetaRegression
            A fit with fewer or more moderators; which one is the larger is found out.

        Raises
        ------
        InputError
            For other estimates or groups, designs that are not nested, and fits that are
            not by method "ML" (restricted likelihoods are of different data).
        """
        if not isinstance(other, MultilevelMetaRegression):
            raise InputError(
                f"other is a {type(other).__name__}; give a fitted MultilevelMetaRegression"
            )
        check_is_fitted(self)
        check_is_fitted(other)
        larger, smaller = (self, other) if self.coef_.size >= other.coef_.size else (other, self)
        if {larger.result_.method, smaller.result_.method} != {"ML"}:
            raise InputError(
                f"the fits' methods are {self.result_.method!r} and {other.result_.method!r}; fit "
                "both by 'ML', restricted likelihoods of different moderators do not compare"
            )
        mine, theirs = larger.studies_, smaller.studies_
        same = (
            np.array_equal(mine.y, theirs.y)
            and np.array_equal(
                mine.numbers["sampling_variance"], theirs.numbers["sampling_variance"]
            )
            and np.array_equal(larger.result_.group_index, smaller.result_.group_index)
        )
        df = larger.coef_.size - smaller.coef_.size
        if not same or not df or not spans(mine.matrix, theirs.matrix):
            raise InputError(
                "the fits are not nested: they are of different estimates or groups, or the larger "
                "design does not have all of the smaller one and more; fit both to the same rows, "
                "or compare their aic_"
            )
        # Never below 0 but for where the maxima are found to.
        ratio = max(0.0, 2.0 * (larger.log_likelihood_ - smaller.log_likelihood_))
        return LikelihoodRatio(ratio, df, float(chdtrc(df, ratio)))

    def _criteria(self) -> tuple[float, float, float]:
        criteria = self._fit.information_criteria()
        return criteria.aic, criteria.aicc, criteria.bic

    def _working(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        check_is_fitted(self)
        return self.studies_.y, self.studies_.matrix, self.result_.marginal_covariance()

    def _clusters(self) -> object:
        return np.asarray(self.studies_.groups)
