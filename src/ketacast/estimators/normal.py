"""Random-effects meta-regression of effect sizes in scikit-learn's grammar."""

from __future__ import annotations

import warnings
from typing import ClassVar, Final, Self

import numpy as np
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray
from ketacast.design import DataWarning
from ketacast.estimators.base import check_flag
from ketacast.estimators.coefficients import CoefficientInference
from ketacast.estimators.effect_score import EffectScore
from ketacast.estimators.measures import pseudo_r2
from ketacast.estimators.normal_inference import NormalInference
from ketacast.estimators.robust import RobustInference
from ketacast.estimators.small_study import SmallStudyTests
from ketacast.estimators.studies import STACK, read_studies
from ketacast.estimators.study_data import Studies
from ketacast.estimators.tables import Summary, counted, shown, shown_roughly
from ketacast.numerics.comparison import aic, aicc, bic
from ketacast.numerics.inference import check_level
from ketacast.numerics.normal import (
    NORMAL_TESTS,
    TAU2_METHODS,
    NormalTest,
    Tau2Method,
    fit_normal,
)
from ketacast.options import check_choice

#: Beyond this factor between sampling variances rounding of the effects themselves
#: costs digits that people look at.
WIDE: Final = 1e10


class MetaRegression(
    NormalInference, SmallStudyTests, CoefficientInference, RobustInference, EffectScore
):
    """Random-effects meta-regression of effect sizes with known sampling variances.

    ``y_i ~ N(x_i'beta, v_i + tau2)``. Moderators come as an array, a table (text and
    categories become factors) or a formula; new values for prediction come the same
    way.

    Parameters
    ----------
    method : {"REML", "ML", "DL", "HE", "HS", "HSk", "SJ", "EB", "PM", "PMM", "EE"}
        Estimator of the between-study variance tau2; "EE" sets it to 0 (equal effects).
    test : {"adhoc", "knha", "t", "z"}
        Tests and intervals: Knapp-Hartung with a factor of at least 1, plain
        Knapp-Hartung, t with k - p degrees of freedom, or normal.
    fit_intercept : bool
        Put an intercept first. A formula may also remove it ("- 1").
    level : float
        Coverage of intervals, 0 to 1.

    Attributes
    ----------
    coef_, se_, statistic_, p_value_ : ndarray, shape (p,)
        Coefficients, the intercept first, and their Wald tests.
    ci_ : ndarray, shape (p, 2)
        Their confidence limits.
    cov_ : ndarray, shape (p, p)
        Their covariance.
    coef_names_ : ndarray of str, shape (p,)
        Their names.
    dropped_columns_ : ndarray of str
        Redundant columns that were left out of the fit.
    tau2_, tau2_se_ : float
        Between-study variance and its standard error (NaN for equal effects).
    I2_, H2_ : float
        Share of the total variance that is between studies, percent; total variance
        over sampling variance.
    R2_ : float
        Share of the heterogeneity that the moderators account for, percent; NaN
        without moderators.
    QE_, QE_df_, QE_p_ : float, int, float
        Cochran's Q of the residuals.
    QM_, QM_df_, QM_p_ : float, tuple, float
        Wald test of all coefficients but the intercept: chi-square, or F; its degrees
        of freedom (coefficients, residual ones or None).
    log_likelihood_, aic_, aicc_, bic_ : float
        Of the restricted likelihood for "REML", else of the full one.
    n_studies_ : int
        Studies in the fit.
    n_features_in_ : int
        Moderators given.
    feature_names_in_ : ndarray of str
        Their names; only where they come from a table.
    design_ : DesignSpec
        How moderators become the design matrix.
    studies_ : Studies
        The data of the fit.
    result_ : NormalFit
        The fit itself.

    Notes
    -----
    Formulas are Python expressions over the table's columns: never fit a formula string
    from a source you do not trust.

    Examples
    --------
    >>> from ketacast import MetaRegression
    >>> model = MetaRegression(method="REML", test="knha")
    >>> model.fit([[44], [55], [42], [52]], [-0.9, -1.6, -1.3, -1.4],
    ...           sampling_variance=[0.3, 0.2, 0.4, 0.02]).n_studies_
    4
    """

    # `data` names columns for one call; it is no per-row input to route.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"data": UNUSED}

    def __init__(
        self,
        method: Tau2Method = "REML",
        test: NormalTest = "adhoc",
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
        data: object = None,
    ) -> Self:
        """Fit the meta-regression.

        Parameters
        ----------
        X : None, array_like (k, q), DataFrame or str
            Moderators: None for the intercept alone; numbers; a table, whose text, flag
            and category columns become factors with treatment coding; or a formula over
            `data` such as ``"ablat + C(alloc)"`` or ``"yi ~ bs(year, df=4)"``.
        y : array_like, shape (k,), or str
            Effects; or a column of `data`; not needed where the formula names it.
        sampling_variance : array_like, shape (k,), or str
            Their sampling variances (squared standard errors), >= 0; or a column.
        data : DataFrame, optional
            The table that names refer to.

        Returns
        -------
        self

        Raises
        ------
        InputError
            For unusable values or options, rows that do not match, or more
            coefficients than studies.

        Warns
        -----
        DataWarning
            If rows are left out for missing values, redundant columns are left out, or
            heterogeneity cannot be judged.
        """
        check_choice("method", self.method, TAU2_METHODS)
        check_choice("test", self.test, NORMAL_TESTS)
        level = check_level(self.level)
        studies = read_studies(
            X,
            y,
            numbers={"sampling_variance": sampling_variance},
            data=data,
            fit_intercept=check_flag("fit_intercept", self.fit_intercept),
            spare=0,  # equal effects can be fitted exactly; the fit refuses the rest
        )
        v = studies.numbers["sampling_variance"]
        _warn_of_limits(studies, v)
        fit = fit_normal(
            studies.y, v, studies.matrix, method=self.method, test=self.test, level=level
        )
        if np.isnan(fit.variance_factor):
            warnings.warn(
                "the effects lie exactly on the line, so Knapp-Hartung has no standard errors "
                "(NaN); use test='adhoc'",
                DataWarning,
                stacklevel=STACK - 2,
            )
        self._store_design(studies)
        self.tau2_ = fit.tau2
        self.tau2_se_ = float("nan") if fit.tau2_se is None else fit.tau2_se
        return self._store_wald(fit)

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
            f"Meta-regression of {counted(fit.k, 'study', 'studies')} (tau2: {fit.method}; "
            f"test: {fit.test})",
            [
                ("tau2 (se)", f"{shown(self.tau2_)} ({shown(self.tau2_se_)})"),
                ("I2, H2", f"{shown_roughly(self.I2_)} %, {shown_roughly(self.H2_)}"),
                ("R2", "-" if np.isnan(self.R2_) else f"{self.R2_:.2f} %"),
            ],
        )

    @property
    def R2_(self) -> float:  # noqa: N802 - fitted attributes are named as in the field
        """Share of the heterogeneity that the moderators account for, percent."""
        check_is_fitted(self)
        y, v, _ = self._data()
        return pseudo_r2(self.result_, y, v)

    def _working(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        y, v, matrix = self._data()
        return y, matrix, v + self.tau2_

    @property
    def H2_(self) -> float:  # noqa: N802
        """Total variance over sampling variance."""
        return float(self._fit.h2)

    def _criteria(self) -> tuple[float, float, float]:
        return aic(self._fit), aicc(self._fit), bic(self._fit)


def _warn_of_limits(studies: Studies, v: FloatArray) -> None:
    k = studies.y.size
    if k == 1:
        warnings.warn(
            "one study cannot show heterogeneity: tau2 is taken as 0, and intervals hold for that "
            "study's own setting only; add studies",
            DataWarning,
            stacklevel=STACK - 1,
        )
    least = v.min()
    spread = float(v.max() / (least if least > 0.0 else v[v > 0.0].min(initial=np.inf)))
    if spread > WIDE:
        warnings.warn(
            f"sampling variances differ by a factor of {spread:.1g}: about "
            f"{max(0.0, 16.0 - np.log10(spread)):.0f} digits of tau2 are left, check their units",
            DataWarning,
            stacklevel=STACK - 1,
        )
    if least == 0.0:
        warnings.warn(
            f"the sampling variance is 0 in {int(np.sum(v == 0.0))} of {k} studies: Q, I2 and H2 "
            "are not defined and are NaN; give the true sampling variances, or a correction "
            "for counts of 0",
            DataWarning,
            stacklevel=STACK - 1,
        )
