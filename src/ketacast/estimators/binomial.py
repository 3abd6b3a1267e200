"""Meta-regression of proportions from their counts."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray, refuse_where
from ketacast.design import spans
from ketacast.errors import InputError
from ketacast.estimators.base import check_flag
from ketacast.estimators.coefficients import CoefficientInference
from ketacast.estimators.measures import mean_log_mass
from ketacast.estimators.studies import read_studies
from ketacast.estimators.tables import Summary, counted, shown, shown_roughly
from ketacast.numerics.binomial import (
    BINOMIAL_TESTS,
    DEFAULT_NODES,
    BinomialFit,
    BinomialTau2Interval,
    BinomialTest,
    LikelihoodRatio,
    binomial_leave_one_out,
    binomial_study_logits,
    binomial_tau2_interval,
    fit_binomial,
    likelihood_ratio,
)
from ketacast.numerics.inference import check_level, critical_value, two_sided_p
from ketacast.options import check_choice

Scale = Literal["logit", "probability"]


class BinomialMetaRegression(CoefficientInference):
    """Random-effects meta-regression of proportions by exact maximum likelihood.

    ``events_i ~ Bin(n_i, expit(x_i'beta + u_i))``, ``u_i ~ N(0, tau2)``: no continuity
    correction, so studies with no events or only events need no special care.
    Everything is on the logit scale unless said otherwise.

    Parameters
    ----------
    test : {"z", "t"}
        Tests and intervals: normal, or t with k - p degrees of freedom.
    fit_intercept : bool
        Put an intercept first. A formula may also remove it ("- 1").
    level : float
        Coverage of intervals, 0 to 1.
    nodes : int
        Quadrature nodes per study to begin with; they are doubled until that changes
        nothing.

    Attributes
    ----------
    coef_, se_, statistic_, p_value_ : ndarray, shape (p,)
        Coefficients (log odds), the intercept first, and their Wald tests.
    ci_, cov_, coef_names_, dropped_columns_
        As for :class:`MetaRegression`.
    tau2_, tau_se_ : float
        Between-study variance; standard error of its square root (NaN where it is 0).
    I2_, H2_ : float
        As for :class:`MetaRegression`.
    QE_, QE_df_, QE_p_ : float, int, float
        Likelihood-ratio test of residual heterogeneity (saturated against fixed effects).
    QM_, QM_df_, QM_p_ : float, tuple, float
        Wald test of all coefficients but the intercept.
    log_likelihood_, aic_, aicc_, bic_ : float
        At the maximum, binomial coefficients included.
    n_studies_, n_features_in_, feature_names_in_, design_, studies_
        As for :class:`MetaRegression`.
    result_ : BinomialFit
        The fit itself.
    """

    result_: BinomialFit
    __metadata_request__fit: ClassVar[dict[str, str]] = {"data": UNUSED}
    __metadata_request__predict: ClassVar[dict[str, str]] = {"scale": UNUSED}

    def __init__(
        self,
        test: BinomialTest = "z",
        fit_intercept: bool = True,
        level: float = 0.95,
        nodes: int = DEFAULT_NODES,
    ) -> None:
        self.test = test
        self.fit_intercept = fit_intercept
        self.level = level
        self.nodes = nodes

    def fit(
        self, X: object = None, y: object = None, *, n: object = None, data: object = None
    ) -> Self:
        """Fit the meta-regression.

        Parameters
        ----------
        X : None, array_like (k, q), DataFrame or str
            Moderators, as for :meth:`MetaRegression.fit`.
        y : array_like, shape (k,), or str
            Events; whole numbers from 0 to n; or a column of `data`.
        n : array_like, shape (k,), or str
            Patients; or a column of `data`.
        data : DataFrame, optional
            The table that names refer to.

        Returns
        -------
        self

        Raises
        ------
        InputError
            For unusable counts or options, rows that do not match, or more coefficients
            than studies.
        ConvergenceError
            If no finite maximum exists (separation) or none was reached.

        Warns
        -----
        DataWarning
            If rows are left out for missing values, or redundant columns are left out.
        """
        check_choice("test", self.test, BINOMIAL_TESTS)
        studies = read_studies(
            X,
            y,
            numbers={"n": n},
            data=data,
            fit_intercept=check_flag("fit_intercept", self.fit_intercept),
        )
        size = studies.numbers["n"]
        bad = (studies.y < 0.0) | (studies.y > size) | (studies.y != np.round(studies.y))
        refuse_where("y (events)", studies.y, bad, "must be a whole number from 0 to n")
        fit = fit_binomial(
            studies.y,
            size,
            studies.matrix,
            nodes=self.nodes,
            level=check_level(self.level),
            test=self.test,
        )
        self._store_design(studies)
        self._store_wald(fit)
        self.tau2_ = fit.tau2
        self.tau_se_ = float("nan") if fit.tau_se is None else fit.tau_se
        self.nodes_ = self.nodes
        return self

    def predict(self, X: object = None, *, scale: Scale = "logit") -> FloatArray:
        """Predict the mean logit, or the proportion at it.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            Moderators of the same kind as in the fit.
        scale : {"logit", "probability"}
            Mean logit, or the proportion of a study at it (the median study).

        Returns
        -------
        ndarray, shape (m,)

        Raises
        ------
        InputError
            For an unknown scale, missing values, an absent column, an unknown level or a
            wrong number of columns.
        """
        check_choice("scale", scale, ("logit", "probability"))
        logits = super().predict(X)
        return logits if scale == "logit" else np.asarray(expit(logits), dtype=np.float64)

    def score(
        self,
        X: object = None,
        y: object = None,
        *,
        n: object = None,
        sample_weight: object = None,
    ) -> float:
        """Mean log predictive probability of new studies' counts; higher is better.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            Moderators, as for :meth:`predict`.
        y, n : array_like, shape (m,)
            Events and patients.
        sample_weight : array_like, shape (m,), optional
            Weights of the studies in the mean, >= 0; equal ones by default.

        Raises
        ------
        InputError
            For missing or unusable values, or rows that do not match.
        """
        predicted = self.predict_design(self._matched_rows(X, y=y, n=n))
        spread = np.sqrt(predicted.se**2 + self.tau2_)
        return mean_log_mass(y, n, predicted.mean, spread, sample_weight)

    def tau2_interval(self, *, level: float | None = None) -> BinomialTau2Interval:
        """Profile-likelihood interval of tau2, and of tau, I2 and H2 from it.

        Parameters
        ----------
        level : float, optional
            Coverage; the estimator's own by default.

        Raises
        ------
        InputError
            For a level outside 0 to 1.
        ConvergenceError
            If a profile was not found.
        """
        return binomial_tau2_interval(*self._data(), level=self._level(level), nodes=self.nodes_)

    def leave_one_out(self) -> pd.DataFrame:
        """Refit without each study in turn.

        Returns
        -------
        DataFrame
            One row per study left out: coefficients as beta_<name> with se_, statistic_,
            p_value_, ci_lb_ and ci_ub_; tau2, log_likelihood and reason (why the rest
            could not be fitted: NaN there).
        """
        found = binomial_leave_one_out(*self._data(), nodes=self.nodes_)
        fit, beta, se = self.result_, found.estimate, found.se
        df = None if fit.df is None else fit.df - 1
        half = critical_value(fit.level, df) * se
        per_coefficient = {
            "beta": beta,
            "se": se,
            "statistic": beta / se,
            "p_value": two_sided_p(beta / se, df),
            "ci_lb": beta - half,
            "ci_ub": beta + half,
        }
        columns = {
            f"{name}_{coefficient}": values[:, j]
            for name, values in per_coefficient.items()
            for j, coefficient in enumerate(self.coef_names_)
        }
        others = {"tau2": found.tau2, "log_likelihood": found.log_likelihood}
        return pd.DataFrame(
            {**columns, **others, "reason": found.reason}, index=self.studies_.labels
        )

    def blup(self) -> pd.DataFrame:
        """Shrunken estimates of the studies' true logits (empirical Bayes).

        Returns
        -------
        DataFrame
            One row per study: fitted (mean logit), deviation (random effect), sd (its
            conditional standard deviation), logit (their sum), probability.
        """
        data = self._data()
        found = binomial_study_logits(self.result_, *data)
        table = self._unpacked(found, self.studies_.labels, ())
        return table.assign(probability=expit(found.logit))

    def compare(self, other: BinomialMetaRegression) -> LikelihoodRatio:
        """Likelihood-ratio test against another fit to the same counts.

        Parameters
        ----------
        other : BinomialMetaRegression
            A fit with fewer or more moderators; which one is the larger is found out.

        Raises
        ------
        InputError
            For other counts, or designs that are not nested.
        """
        if not isinstance(other, BinomialMetaRegression):
            raise InputError(
                f"other is a {type(other).__name__}; give a fitted BinomialMetaRegression"
            )
        check_is_fitted(self)
        check_is_fitted(other)
        mine, theirs = (self.result_, self._data()), (other.result_, other._data())
        larger, smaller = (mine, theirs) if mine[0].p >= theirs[0].p else (theirs, mine)
        same = all(np.array_equal(larger[1][i], smaller[1][i]) for i in (0, 1))
        if not same or not spans(larger[1][2], smaller[1][2]):
            raise InputError(
                "the fits are not nested: they are of different counts, or the larger design does "
                "not contain the smaller one; fit both to the same studies, or compare their aic_"
            )
        return likelihood_ratio(larger[0], smaller[0])

    def summary(self) -> Summary:
        """Give the fit on one screen: heterogeneity, tests and coefficients.

        Returns
        -------
        Summary
            Prints as text and renders in notebooks.
        """
        check_is_fitted(self)
        fit = self.result_
        return self._summary(
            f"Binomial-normal meta-regression of {counted(fit.k, 'study', 'studies')}, "
            f"{counted(fit.events_total, 'event', 'events')} in {fit.n_total} (logit scale; "
            f"test: {fit.test})",
            [
                ("tau2", shown(self.tau2_)),
                ("tau (se)", f"{shown(fit.tau)} ({shown(self.tau_se_)})"),
                ("I2, H2", f"{shown_roughly(self.I2_)} %, {shown_roughly(self.H2_)}"),
            ],
        )

    @property
    def H2_(self) -> float:  # noqa: N802 - fitted attributes are named as in the field
        """Total variance over sampling variance."""
        return float(self._fit.h2)

    def _criteria(self) -> tuple[float, float, float]:
        return self._fit.aic, self._fit.aicc, self._fit.bic

    def _data(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        check_is_fitted(self)
        return self.studies_.y, self.studies_.numbers["n"], self.studies_.matrix
