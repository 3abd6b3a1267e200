"""Results of multilevel and multivariate fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array
from ketacast.errors import InputError
from ketacast.numerics.inference import (
    Omnibus,
    Prediction,
    WaldInference,
    check_level,
    critical_value,
    wald_omnibus,
)
from ketacast.numerics.mixed.marginal_covariance import IntArray, MarginalModel, covariance
from ketacast.numerics.mixed.variance_estimates import CovarianceStructure

MixedMethod = Literal["REML", "ML"]
MixedTest = Literal["z", "t"]
MIXED_METHODS: Final[tuple[MixedMethod, ...]] = get_args(MixedMethod)
MIXED_TESTS: Final[tuple[MixedTest, ...]] = get_args(MixedTest)


@dataclass(frozen=True, slots=True)
class InformationCriteria:
    """Akaike's criterion, the same corrected for small samples, and Schwarz's.

    Attributes
    ----------
    aic, aicc, bic : float
        Smaller is better; for `aicc` the rows count as at least the parameters plus 2,
        below which the correction has no meaning.
    """

    aic: float
    aicc: float
    bic: float


@dataclass(frozen=True, slots=True)
class MixedFit(WaldInference):
    """What a multilevel and a multivariate fit have in common.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    cov : ndarray, shape (p, p)
        Their covariance.
    psi : ndarray, shape (J,)
        Coefficients of the covariance patterns, see :attr:`model`.
    n_components : int
        Variance components and correlations that were estimated.
    qe : float
        Weighted sum of squared residuals without random effects.
    trace_p : float
        Trace of the weights left after the coefficients, without random effects.
    log_likelihood_ml, log_likelihood_reml : float
        At the estimates. The restricted one includes ``log|X'X| / 2``.
    k, p : int
        Estimates (rows), coefficients.
    intercept : int or None
        Index of the intercept among the coefficients.
    method, test : str
        As given to the fit.
    level : float
        Coverage of `ci_lower` and `ci_upper`.
    group_index : ndarray of int, shape (k,)
        Group (study, trial) of each row.
    group_labels : tuple
        Labels of the groups, in order of first appearance.
    model : MarginalModel
        The data.
    design : ndarray, shape (k, p)
        Moderators, the intercept's column of ones included.
    """

    beta: FloatArray
    cov: FloatArray
    psi: FloatArray
    n_components: int
    qe: float
    trace_p: float
    log_likelihood_ml: float
    log_likelihood_reml: float
    k: int
    p: int
    intercept: int | None
    method: MixedMethod
    test: MixedTest
    level: float
    group_index: IntArray = field(repr=False)
    group_labels: tuple[object, ...] = field(repr=False)
    model: MarginalModel = field(repr=False)
    design: FloatArray = field(repr=False)

    @property
    def restricted(self) -> bool:
        """Whether the restricted likelihood was maximised."""
        return self.method == "REML"

    @property
    def log_likelihood(self) -> float:
        """The likelihood that was maximised."""
        return self.log_likelihood_reml if self.restricted else self.log_likelihood_ml

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.group_labels)

    @property
    def qe_p(self) -> float:
        """p-value of `qe` (chi-square, upper tail)."""
        return float(special.chdtrc(self.residual_df, self.qe))

    @property
    def moderators(self) -> Omnibus:
        """Wald test of all coefficients but the intercept."""
        return wald_omnibus(self.beta, self.cov, self.intercept, self.df)

    def information_criteria(self, *, restricted: bool | None = None) -> InformationCriteria:
        """Information criteria of the full or the restricted likelihood.

        Parameters
        ----------
        restricted : bool, optional
            Which likelihood; the one that was maximised if not given. Criteria of
            restricted likelihoods compare only fits with the same moderators, and
            count k - p observations.
        """
        use = self.restricted if restricted is None else restricted
        deviance = -2.0 * (self.log_likelihood_reml if use else self.log_likelihood_ml)
        n = self.residual_df if use else self.k
        count = self.p + self.n_components
        # The correction is defined for n > count + 1 only.
        usable = max(n, count + 2)
        return InformationCriteria(
            aic=deviance + 2.0 * count,
            aicc=deviance + 2.0 * count * usable / (usable - count - 1),
            bic=deviance + count * float(np.log(n)),
        )

    def marginal_covariance(self) -> FloatArray:
        """Covariance of the effects around the mean, sampling and random, shape (k, k)."""
        result = np.zeros((self.k, self.k))
        for block in self.model.classes:
            result[block.rows[:, :, None], block.rows[:, None, :]] = covariance(block, self.psi)
        return result


@dataclass(frozen=True, slots=True)
class MultilevelFit(MixedFit):
    """Estimates within groups: ``~ 1 | group/estimate``.

    Attributes
    ----------
    sigma2 : ndarray, shape (2,)
        Variance between groups, and between estimates within a group.
    separable : bool
        False where every group has one estimate: the two variances cannot be
        told apart, and the whole is given as between groups.
    """

    sigma2: FloatArray
    separable: bool

    @property
    def i2(self) -> float:
        """Share of the total variance that is heterogeneity, percent.

        Both components over both plus the typical sampling variance (Higgins &
        Thompson 2002, generalised to a sampling covariance).
        """
        total = float(self.sigma2.sum())
        return 100.0 * total / (total + self.residual_df / self.trace_p)

    @property
    def i2_components(self) -> FloatArray:
        """The two parts of `i2`: between groups, within groups, percent, shape (2,)."""
        total = float(self.sigma2.sum()) + self.residual_df / self.trace_p
        return np.asarray(100.0 * self.sigma2 / total)

    def predict(self, X_new: object, *, level: float | None = None) -> Prediction:
        """Predict the mean and the true effect of a new estimate in a new group.

        Parameters
        ----------
        X_new : array_like, shape (m, p)
            Rows of moderators, the intercept's 1 included.
        level : float, optional
            Coverage of both intervals; that of the fit if not given.

        Raises
        ------
        InputError
            For a wrong shape or level.
        """
        rows = real_array("X_new", X_new, ndim=2)
        variance = np.full(rows.shape[0], float(self.sigma2.sum()))
        return _predict(self, rows, variance, level)

    def to_dict(self) -> dict[str, Any]:
        """Estimates, tests and heterogeneity as plain numbers and lists."""
        return _content(self) | {"sigma2": self.sigma2.tolist(), "i2": self.i2}


@dataclass(frozen=True, slots=True)
class MultivariateFit(MixedFit):
    """Several outcomes per trial: ``~ outcome | trial``.

    Attributes
    ----------
    tau2 : ndarray, shape (m,)
        Between-trial variance of each outcome.
    G : ndarray, shape (m, m)
        Between-trial covariance.
    structure : str
        As given to the fit.
    outcome_index : ndarray of int, shape (k,)
        Outcome of each row.
    outcome_labels : tuple
        Labels of the outcomes, sorted; the order of `tau2` and `G`.
    """

    tau2: FloatArray
    G: FloatArray
    structure: CovarianceStructure
    outcome_index: IntArray = field(repr=False)
    outcome_labels: tuple[object, ...]

    @property
    def rho(self) -> FloatArray:
        """Correlations of the random effects, shape (m, m); NaN where a variance is 0."""
        tau = np.sqrt(self.tau2)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho = np.clip(self.G / np.outer(tau, tau), -1.0, 1.0)
        np.fill_diagonal(rho, 1.0)
        return np.asarray(rho)

    def predict(self, X_new: object, outcome: object, *, level: float | None = None) -> Prediction:
        """Predict the mean and a new trial's true effect.

        Parameters
        ----------
        X_new : array_like, shape (n, p)
            Rows of moderators, coded as in the fit.
        outcome : sequence, length n
            Outcome of each row, a label of the fit: whose variance the prediction
            interval takes.
        level : float, optional
            Coverage of both intervals; that of the fit if not given.

        Raises
        ------
        InputError
            For a wrong shape or level or an unknown outcome.
        """
        rows = real_array("X_new", X_new, ndim=2)
        labels = np.asarray(outcome, dtype=object).ravel().tolist()
        if len(labels) != rows.shape[0]:
            raise InputError(
                f"outcome has {len(labels)} labels for {rows.shape[0]} rows of X_new; give one each"
            )
        place = {label: j for j, label in enumerate(self.outcome_labels)}
        unknown = [label for label in labels if label not in place]
        if unknown:
            raise InputError(
                f"outcome {unknown[0]!r} is not in the fit; choose from {self.outcome_labels!r}"
            )
        return _predict(self, rows, self.tau2[[place[label] for label in labels]], level)

    def to_dict(self) -> dict[str, Any]:
        """Estimates, tests and heterogeneity as plain numbers and lists (NaN as None)."""
        rho = [[None if np.isnan(r) else float(r) for r in row] for row in self.rho]
        return _content(self) | {
            "tau2": self.tau2.tolist(),
            "rho": rho,
            "G": self.G.tolist(),
            "structure": self.structure,
            "outcomes": [str(label) for label in self.outcome_labels],
        }


def _predict(
    fit: MixedFit, rows: FloatArray, heterogeneity: FloatArray, level: float | None
) -> Prediction:
    coverage = fit.level if level is None else check_level(level)
    if rows.shape[1] != fit.p:
        raise InputError(
            f"X_new has {rows.shape[1]} columns for {fit.p} coefficients; "
            "give the same columns as in the fit, the intercept included"
        )
    mean = rows @ fit.beta
    se = np.sqrt(np.einsum("mi,ij,mj->m", rows, fit.cov, rows))
    critical = critical_value(coverage, fit.df)
    half, wide = critical * se, critical * np.sqrt(se**2 + heterogeneity)
    return Prediction(
        mean=frozen(mean),
        se=frozen(se),
        ci_lower=frozen(mean - half),
        ci_upper=frozen(mean + half),
        pi_lower=frozen(mean - wide),
        pi_upper=frozen(mean + wide),
        level=coverage,
        df=fit.df,
        pi_df=fit.df,
    )


def _content(fit: MixedFit) -> dict[str, Any]:
    arrays = ("beta", "se", "statistic", "p_value", "ci_lower", "ci_upper", "cov")
    scalars = (
        "qe", "residual_df", "qe_p", "log_likelihood", "df", "k", "p", "n_groups", "method",
        "test", "level",
    )  # fmt: skip
    content: dict[str, Any] = {name: getattr(fit, name).tolist() for name in arrays}
    return content | {name: getattr(fit, name) for name in scalars}
