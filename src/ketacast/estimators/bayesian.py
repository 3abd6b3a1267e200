"""Bayesian meta-regression without simulation."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.estimators.base import MetaEstimator, check_flag
from ketacast.estimators.measures import mean_log_mixture
from ketacast.estimators.studies import read_studies
from ketacast.estimators.tables import Summary, counted, shown
from ketacast.numerics.hierarchical.normal import NormalPosterior, fit_normal_posterior
from ketacast.numerics.inference import Prediction, PredictionKind, check_level


class BayesianMetaRegression(MetaEstimator):
    """Bayesian random-effects meta-regression; the posterior is computed by quadrature.

    ``y_i ~ N(x_i'beta, v_i + tau^2)`` with a half-normal prior of the between-study
    standard deviation tau and independent normal (or flat) priors of the
    coefficients. The same data give the same digits every time.

    Parameters
    ----------
    tau_scale : float
        Scale of the half-normal prior of tau, > 0, in units of the effect. There is no
        default because it depends on them; for log odds ratios and logits 0.5 says
        that tau is below 1 with probability 0.95 (Rover et al. 2021, Res Synth Methods
        12:448, compare choices).
    prior_mean : float or array_like, shape (p,)
        Prior means of the coefficients, the intercept first; used with `prior_sd`.
    prior_sd : float or array_like, shape (p,), optional
        Prior standard deviations of the coefficients, > 0 (inf is flat); None makes
        all flat.
    fit_intercept : bool
        Put an intercept first. A formula may also remove it ("- 1").
    level : float
        Posterior probability of intervals, 0 to 1.

    Attributes
    ----------
    coef_, sd_ : ndarray, shape (p,)
        Posterior means and standard deviations of the coefficients.
    ci_ : ndarray, shape (p, 2)
        Their equal-tailed credible intervals.
    cov_ : ndarray, shape (p, p)
        Their posterior covariance.
    coef_names_, dropped_columns_
        As for :class:`MetaRegression`.
    tau_mean_, tau_sd_ : float
        Posterior mean and standard deviation of tau.
    tau_interval_ : tuple of float
        Its equal-tailed credible interval.
    log_marginal_ : float
        Log marginal likelihood; NaN with flat priors, which have none.
    n_studies_, n_features_in_, feature_names_in_, design_, studies_
        As for :class:`MetaRegression`.
    result_ : NormalPosterior
        The posterior itself, with densities and quantiles of tau.
    """

    result_: NormalPosterior
    __metadata_request__fit: ClassVar[dict[str, str]] = {"data": UNUSED}

    def __init__(
        self,
        tau_scale: float | None = None,
        prior_mean: object = 0.0,
        prior_sd: object = None,
        fit_intercept: bool = True,
        level: float = 0.95,
    ) -> None:
        self.tau_scale = tau_scale
        self.prior_mean = prior_mean
        self.prior_sd = prior_sd
        self.fit_intercept = fit_intercept
        self.level = level

    def fit(
        self,
        X: object = None,
        y: object = None,
        *,
        sampling_variance: object = None,
        data: object = None,
    ) -> Self:
        """Compute the posterior.

        Parameters
        ----------
        X, y, sampling_variance, data
            As for :meth:`MetaRegression.fit`; sampling variances > 0.

        Returns
        -------
        self

        Raises
        ------
        InputError
            For unusable values or priors, rows that do not match, or data that leave a
            coefficient with a flat prior without information.
        ConvergenceError
            If the quadrature does not reach its accuracy.

        Warns
        -----
        DataWarning
            If rows are left out for missing values, or redundant columns are left out.
        """
        if self.tau_scale is None:
            raise InputError(
                "tau_scale is missing: the prior of the between-study standard deviation must suit "
                "the effect's units; give the scale of its half-normal prior, such as 0.5 for "
                "logits and log odds ratios"
            )
        level = check_level(self.level)
        studies = read_studies(
            X,
            y,
            numbers={"sampling_variance": sampling_variance},
            data=data,
            fit_intercept=check_flag("fit_intercept", self.fit_intercept),
            spare=None,  # informative priors need no studies
        )
        p = studies.matrix.shape[1]
        mean, precision = _priors(self.prior_mean, self.prior_sd, p)
        posterior = fit_normal_posterior(
            studies.y,
            studies.numbers["sampling_variance"],
            studies.matrix,
            tau_scale=self.tau_scale,
            prior_mean=mean,
            prior_precision=precision,
        )
        self._store_design(studies)
        tails = _tails(level)
        self.result_ = posterior
        self.coef_, self.sd_, self.cov_ = posterior.mean(), posterior.sd(), posterior.covariance()
        self.ci_ = posterior.quantile(tails).T
        self.tau_mean_, self.tau_sd_ = posterior.tau_mean, posterior.tau_sd
        lower, upper = posterior.tau_quantile(tails)
        self.tau_interval_ = (float(lower), float(upper))
        marginal = posterior.log_marginal
        self.log_marginal_ = float("nan") if marginal is None else marginal
        self.level_ = level
        return self

    def score(
        self,
        X: object = None,
        y: object = None,
        *,
        sampling_variance: object = None,
        sample_weight: object = None,
    ) -> float:
        """Mean log posterior predictive density of new studies' estimates.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            Moderators, as for :meth:`predict`.
        y, sampling_variance : array_like, shape (m,)
            Estimates and their sampling variances.
        sample_weight : array_like, shape (m,), optional
            Weights of the studies in the mean, >= 0; equal ones by default.

        Raises
        ------
        InputError
            For missing or unusable values, or rows that do not match.
        """
        rows = self._matched_rows(X, y=y, sampling_variance=sampling_variance)
        return mean_log_mixture(rows, y, sampling_variance, self.result_, sample_weight)

    def shrinkage(self, *, level: float | None = None) -> pd.DataFrame:
        """Posterior of the true effects of the studies in the fit.

        Parameters
        ----------
        level : float, optional
            Posterior probability of the intervals; the estimator's own by default.

        Returns
        -------
        DataFrame
            One row per study: effect (mean), sd, ci_lb, ci_ub.

        Raises
        ------
        InputError
            For a level outside 0 to 1.
        """
        check_is_fitted(self)
        mean, sd = self.result_.shrinkage()
        lower, upper = self.result_.shrinkage_quantile(_tails(self._level(level))).T
        return pd.DataFrame(
            {"effect": mean, "sd": sd, "ci_lb": lower, "ci_ub": upper},
            index=self.studies_.labels,
        )

    def coefficients(self) -> pd.DataFrame:
        """Give the coefficients as a table.

        Returns
        -------
        DataFrame
            One row per coefficient: estimate (posterior mean), sd, ci_lb, ci_ub.
        """
        check_is_fitted(self)
        return pd.DataFrame(
            {
                "estimate": self.coef_,
                "sd": self.sd_,
                "ci_lb": self.ci_[:, 0],
                "ci_ub": self.ci_[:, 1],
            },
            index=pd.Index(self.coef_names_, name="coefficient"),
        )

    def summary(self) -> Summary:
        """Give the posterior on one screen.

        Returns
        -------
        Summary
            Prints as text and renders in notebooks.
        """
        check_is_fitted(self)
        lower, upper = self.tau_interval_
        return Summary(
            f"Bayesian meta-regression of {counted(self.n_studies_, 'study', 'studies')} "
            f"(tau ~ half-normal with scale {self.result_.problem.tau_scale:g})",
            (
                ("tau (sd)", f"{shown(self.tau_mean_)} ({shown(self.tau_sd_)})"),
                (f"{100.0 * self.level_:g} % interval of tau", f"{shown(lower)} to {shown(upper)}"),
                ("Log marginal likelihood", shown(self.log_marginal_)),
                *self._left_out(),
            ),
            self.coefficients(),
        )

    def _level(self, level: float | None) -> float:
        return self.level_ if level is None else check_level(level)

    def _predicted(self, rows: FloatArray, level: float, kind: PredictionKind) -> Prediction:
        if kind != "default":
            raise InputError(
                f"kind is {kind!r}; a posterior has one prediction interval, use kind='default'"
            )
        mean, sd = self.result_.prediction_moments(rows, new_study=False)
        ci_lower, ci_upper = self.result_.mean_quantile(rows, _tails(level)).T
        pi_lower, pi_upper = self.result_.new_study_quantile(rows, _tails(level)).T
        return Prediction(
            mean, sd, ci_lower, ci_upper, pi_lower, pi_upper, level=level, df=None, pi_df=None
        )


def _tails(level: float) -> tuple[float, float]:
    return 0.5 * (1.0 - level), 0.5 * (1.0 + level)


def _priors(mean: Any, sd: Any, p: int) -> tuple[FloatArray | None, FloatArray | None]:
    centre = _per_coefficient("prior_mean", mean, p)
    if sd is None:
        if centre.any():
            raise InputError(
                f"prior_mean is {mean!r} but prior_sd is None, a flat prior; give prior_sd as well"
            )
        return None, None
    # A flat prior is the limit of a wide one: inf, which real_array would refuse.
    given = np.asarray(sd, dtype=object).ravel().tolist()
    flat = np.array([one == np.inf for one in given])
    finite = [1.0 if one == np.inf else one for one in given]
    spread = _per_coefficient("prior_sd", finite, p)
    refuse_where("prior_sd", spread, spread <= 0.0, "must be greater than 0")
    return centre, np.diag(np.where(flat, 0.0, spread**-2))


def _per_coefficient(name: str, value: object, p: int) -> FloatArray:
    array = real_array(name, value)
    if array.ndim > 1 or array.size not in (1, p):
        raise InputError(
            f"{name} has shape {array.shape} for {p} coefficients; give one number, or one per "
            "coefficient with the intercept first"
        )
    return np.broadcast_to(array.ravel(), (p,)).copy()
