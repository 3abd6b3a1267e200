"""Result of a binomial-normal fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray
from ketacast.errors import InputError
from ketacast.numerics.inference import Omnibus, WaldInference, wald_omnibus

BinomialTest = Literal["z", "t"]
BINOMIAL_TESTS: Final[tuple[BinomialTest, ...]] = get_args(BinomialTest)

#: By how much a maximum may be missed: nested fits cannot differ the wrong way by more.
ROUNDING: Final = 1e-7


@dataclass(frozen=True, slots=True)
class BinomialFit(WaldInference):
    """One fitted binomial-normal meta-regression, on the logit scale.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    cov : ndarray, shape (p, p)
        Their covariance, from the observed information of coefficients and tau.
    tau2 : float
        Between-study variance.
    tau_se : float or None
        Standard error of tau; None where tau2 is 0, the boundary.
    log_likelihood : float
        At the maximum, binomial coefficients included.
    log_likelihood_fixed : float
        Without random effects (tau = 0).
    log_likelihood_saturated : float
        With one probability per study.
    typical_variance : float
        Sampling variance of a typical study's logit (continuity corrected
        where it has no or only events); what I2 compares tau2 with.
    qe_wald : float
        Wald statistic of heterogeneity, see :attr:`qe_wald_p`.
    events_total, n_total : int
        Sums over studies.
    k, p : int
        Studies, coefficients.
    intercept : int or None
        Index of the intercept among the coefficients.
    test : str
        As given to the fit.
    level : float
        Coverage of `ci_lower` and `ci_upper`.
    """

    beta: FloatArray
    cov: FloatArray
    tau2: float
    tau_se: float | None
    log_likelihood: float
    log_likelihood_fixed: float
    log_likelihood_saturated: float
    typical_variance: float
    qe_wald: float
    events_total: int
    n_total: int
    k: int
    p: int
    intercept: int | None
    test: BinomialTest
    level: float

    @property
    def tau(self) -> float:
        """Between-study standard deviation."""
        return float(np.sqrt(self.tau2))

    @property
    def i2(self) -> float:
        """Share of the total variance that is between studies, percent."""
        return 100.0 * self.tau2 / (self.tau2 + self.typical_variance)

    @property
    def h2(self) -> float:
        """Total variance over sampling variance."""
        return 1.0 + self.tau2 / self.typical_variance

    @property
    def qe(self) -> float:
        """Likelihood-ratio test of heterogeneity: saturated against fixed effects."""
        # Equal proportions are fitted exactly, and rounding may go either way.
        return max(0.0, 2.0 * (self.log_likelihood_saturated - self.log_likelihood_fixed))

    @property
    def qe_p(self) -> float:
        """p-value of `qe` (chi-square with k - p df, upper tail)."""
        return float(special.chdtrc(self.residual_df, self.qe))

    @property
    def qe_wald_p(self) -> float:
        """p-value of `qe_wald`, the Wald test of the same hypothesis as `qe`.

        The statistic is the weighted residual sum of squares of the observed logits;
        studies with no or only events, whose logits have infinite variance, do not
        contribute but are counted among the k - p degrees of freedom.
        """
        return float(special.chdtrc(self.residual_df, self.qe_wald))

    @property
    def parameters(self) -> int:
        """Number of estimated parameters: coefficients and tau2."""
        return self.p + 1

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * (self.parameters - self.log_likelihood)

    @property
    def aicc(self) -> float:
        """Akaike's criterion corrected for few studies (Hurvich & Tsai 1989).

        The number of studies counts as at least the parameters plus 2, below which
        the correction has no meaning.
        """
        m = self.parameters
        k = max(self.k, m + 2)
        return 2.0 * (m * k / (k - m - 1) - self.log_likelihood)

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz), with k observations."""
        return float(np.log(self.k)) * self.parameters - 2.0 * self.log_likelihood

    @property
    def moderators(self) -> Omnibus:
        """Wald test of all coefficients but the intercept."""
        return wald_omnibus(self.beta, self.cov, self.intercept, self.df)

    def to_dict(self) -> dict[str, Any]:
        """Everything above as plain numbers and lists."""
        arrays = ("beta", "se", "statistic", "p_value", "ci_lower", "ci_upper", "cov")
        scalars = (
            "tau2", "tau", "tau_se", "i2", "h2", "typical_variance", "qe", "qe_p", "qe_wald",
            "qe_wald_p", "log_likelihood", "log_likelihood_fixed", "log_likelihood_saturated",
            "aic", "aicc", "bic", "parameters", "df", "residual_df", "events_total", "n_total",
            "k", "p", "intercept", "test", "level",
        )  # fmt: skip
        content: dict[str, Any] = {name: getattr(self, name).tolist() for name in arrays}
        content |= {name: getattr(self, name) for name in scalars}
        content["moderators"] = asdict(self.moderators)
        return content


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """Likelihood-ratio test of nested fits.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    df : int
        Coefficients fewer.
    p_value : float
        Chi-square, upper tail.
    """

    statistic: float
    df: int
    p_value: float


def likelihood_ratio(full: BinomialFit, reduced: BinomialFit) -> LikelihoodRatio:
    """Test whether moderators that `reduced` leaves out matter.

    Parameters
    ----------
    full, reduced : BinomialFit
        Fits of the same counts; the columns of `reduced` are among those of `full`
        (or combinations of them).

    Raises
    ------
    InputError
        If `reduced` does not have fewer coefficients, fits the same counts better than
        `full`, or the counts differ.
    """
    df = full.p - reduced.p
    if df < 1:
        raise InputError(
            f"reduced has {reduced.p} coefficients and full {full.p}; give the fit with more first"
        )
    ours, theirs = _data_of(full), _data_of(reduced)
    if ours != theirs:
        raise InputError(
            f"the fits are of different data (studies, events, n, saturated log-likelihood "
            f"{ours} and {theirs}); fit both to the same counts"
        )
    statistic = 2.0 * (full.log_likelihood - reduced.log_likelihood)
    if statistic < -ROUNDING:
        raise InputError(
            f"reduced fits better than full (2 x difference {statistic:.3g}); its columns must be "
            "among those of full"
        )
    statistic = max(statistic, 0.0)
    return LikelihoodRatio(statistic, df, float(special.chdtrc(df, statistic)))


def _data_of(fit: BinomialFit) -> tuple[int, int, int, float]:
    return fit.k, fit.events_total, fit.n_total, fit.log_likelihood_saturated
