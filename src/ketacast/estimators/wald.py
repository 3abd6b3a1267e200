"""Fitted attributes of the estimators whose coefficients have Wald tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray
from ketacast.estimators.base import MetaEstimator
from ketacast.estimators.tables import Summary, shown, shown_roughly, test_facts
from ketacast.numerics.inference import Omnibus


class WaldEstimator(MetaEstimator, ABC):
    """Tests and intervals of the coefficients; computed from ``result_`` when asked for."""

    @property
    def _fit(self) -> Any:
        if not hasattr(self, "result_"):
            check_is_fitted(self)
        return self.result_

    @property
    def se_(self) -> FloatArray:
        """Standard errors of the coefficients, shape (p,)."""
        return np.asarray(self._fit.se)

    @property
    def statistic_(self) -> FloatArray:
        """Coefficients over their standard errors, shape (p,); NaN for 0 over 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._fit.statistic)

    @property
    def p_value_(self) -> FloatArray:
        """Two-sided p-values of the coefficients, shape (p,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._fit.p_value)

    @property
    def ci_(self) -> FloatArray:
        """Confidence limits of the coefficients, shape (p, 2)."""
        return np.column_stack([self._fit.ci_lower, self._fit.ci_upper])

    @property
    def QE_(self) -> float:  # noqa: N802 - fitted attributes are named as in the field
        """Statistic of residual heterogeneity."""
        return float(self._fit.qe)

    @property
    def QE_df_(self) -> int:  # noqa: N802
        """Degrees of freedom of ``QE_``: studies minus coefficients."""
        return int(self._fit.residual_df)

    @property
    def QE_p_(self) -> float:  # noqa: N802
        """p-value of ``QE_``."""
        return float(self._fit.qe_p)

    @property
    def QM_(self) -> float:  # noqa: N802
        """Wald statistic of all coefficients but the intercept: chi-square, or F."""
        return float(self._omnibus().statistic)

    @property
    def QM_df_(self) -> tuple[int, int | None]:  # noqa: N802
        """Degrees of freedom of ``QM_``: coefficients, residual ones or None."""
        omnibus = self._omnibus()
        return omnibus.df_coefficients, omnibus.df_residual

    @property
    def QM_p_(self) -> float:  # noqa: N802
        """p-value of ``QM_``."""
        return float(self._omnibus().p_value)

    @property
    def I2_(self) -> float:  # noqa: N802
        """Share of the total variance that is heterogeneity, percent."""
        return float(self._fit.i2)

    @property
    def log_likelihood_(self) -> float:
        """Log-likelihood at the estimates: of the restricted likelihood for REML."""
        return float(self._fit.log_likelihood)

    @property
    def aic_(self) -> float:
        """Akaike's information criterion."""
        return self._criteria()[0]

    @property
    def aicc_(self) -> float:
        """Akaike's criterion corrected for few studies."""
        return self._criteria()[1]

    @property
    def bic_(self) -> float:
        """Schwarz's information criterion."""
        return self._criteria()[2]

    def coefficients(self) -> pd.DataFrame:
        """Give the coefficients as a table.

        Returns
        -------
        DataFrame
            One row per coefficient: estimate, se, statistic, p_value, ci_lb, ci_ub.
        """
        check_is_fitted(self)
        lower, upper = self.ci_.T
        return pd.DataFrame(
            {
                "estimate": self.coef_,
                "se": self.se_,
                "statistic": self.statistic_,
                "p_value": self.p_value_,
                "ci_lb": lower,
                "ci_ub": upper,
            },
            index=pd.Index(self.coef_names_, name="coefficient"),
        )

    def _omnibus(self) -> Omnibus:
        with np.errstate(invalid="ignore", divide="ignore"):  # standard errors of 0
            omnibus: Omnibus = self._fit.moderators
        return omnibus

    @abstractmethod
    def _criteria(self) -> tuple[float, float, float]:
        """AIC, AICc and BIC of the fit."""

    def _store_wald(self, fit: Any) -> Self:
        self.result_ = fit
        self.coef_, self.cov_ = fit.beta, fit.cov
        return self

    def _summary(self, title: str, heterogeneity: list[tuple[str, str]]) -> Summary:
        criteria = ", ".join(shown_roughly(one) for one in self._criteria())
        return Summary(
            title,
            (
                *heterogeneity,
                *test_facts((self.QE_, self.QE_df_, self.QE_p_), self._omnibus()),
                ("Log-likelihood", shown(self.log_likelihood_)),
                ("AIC, AICc, BIC", criteria),
                *self._left_out(),
            ),
            self.coefficients(),
        )
