"""What all estimators share: reading, storing, predicting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray, real_array
from ketacast.design import DesignSpec, refuse_misaligned, row_labels
from ketacast.effects import back_transform
from ketacast.errors import InputError
from ketacast.estimators.study_data import Studies
from ketacast.estimators.tables import column_name, prediction_table
from ketacast.numerics.inference import (
    PREDICTION_KINDS,
    Prediction,
    PredictionKind,
    check_level,
    predict_linear,
)
from ketacast.options import check_choice

Transform = Literal["PLO", "logit", "PAS", "PR", "exp"]
TRANSFORMS: Final[tuple[Transform, ...]] = get_args(Transform)


class MetaEstimator(RegressorMixin, BaseEstimator):
    """Base of the meta-regressions; not used by itself."""

    design_: DesignSpec
    studies_: Studies
    result_: Any
    coef_: FloatArray
    coef_names_: np.ndarray[Any, Any]
    tau2_: float

    def predict(self, X: object = None) -> FloatArray:
        """Predict the mean true effect.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            Moderators of the same kind as in the fit. Other columns of a DataFrame and
            their order do not matter. For a fit without moderators, None is one row.

        Returns
        -------
        ndarray, shape (m,)

        Raises
        ------
        InputError
            For missing values, an absent column, an unknown level or a wrong number of
            columns.
        """
        return self._rows(X) @ self.coef_

    def predict_interval(
        self,
        X: object = None,
        *,
        level: float | None = None,
        kind: PredictionKind = "default",
        transform: Transform | Callable[[FloatArray], FloatArray] | None = None,
    ) -> pd.DataFrame:
        """Predict with a confidence interval of the mean and a prediction interval.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            As for :meth:`predict`.
        level : float, optional
            Coverage of both intervals, 0 to 1; the estimator's own by default.
        kind : {"default", "riley", "t", "simple"}
            How the prediction interval is made: with the distribution of the fit's own
            tests; t with k - p - 1 degrees of freedom (Riley, Higgins & Deeks 2011);
            t with k - p; or normal and without the uncertainty of the mean.
        transform : {"PLO", "logit", "PAS", "PR", "exp"} or callable, optional
            Carry the mean and all limits to another scale: proportions for "PLO" (or
            "logit"), "PAS" and "PR", ratios for "exp", or an increasing function of
            arrays. The standard error is then left out.

        Returns
        -------
        DataFrame
            Columns pred, se, ci_lb, ci_ub (mean true effect), pi_lb, pi_ub (true effect
            of a new study); rows and labels of `X`.

        Raises
        ------
        InputError
            As for :meth:`predict`, and for an unusable level, kind or transform.
        """
        rows = self._rows(X)
        table = prediction_table(
            self._predicted(rows, self._level(level), kind), row_labels(X, len(rows))
        )
        return table if transform is None else _carried(table, transform)

    def predict_design(
        self,
        rows: object,
        *,
        level: float | None = None,
        kind: PredictionKind = "default",
    ) -> Prediction:
        """Predict at rows of the design matrix, such as those of ``studies_.matrix``.

        Parameters
        ----------
        rows : array_like, shape (m, p)
            One value per coefficient in the order of ``coef_names_``, the intercept's 1
            included.
        level, kind
            As for :meth:`predict_interval`.

        Returns
        -------
        Prediction
            Means, standard errors and both intervals as arrays of shape (m,).

        Raises
        ------
        InputError
            For another number of columns, missing values, an unusable level or kind.
        """
        check_is_fitted(self)
        check_choice("kind", kind, PREDICTION_KINDS)
        matrix = real_array("rows", rows, ndim=2)
        if matrix.shape[1] != self.coef_.size:
            listed = ", ".join(repr(str(name)) for name in self.coef_names_)
            raise InputError(
                f"rows has {matrix.shape[1]} columns; give one per coefficient: {listed}"
            )
        return self._predicted(matrix, self._level(level), kind)

    def _rows(self, X: object) -> FloatArray:
        check_is_fitted(self)
        return self.design_.transform(X, owner=type(self).__name__)

    def _matched_rows(self, X: object, **per_row: object) -> FloatArray:
        """Design of new studies, refused where other inputs are of other rows."""
        rows = self._rows(X)
        refuse_misaligned([("X", X), *per_row.items()])
        return rows

    def _level(self, level: float | None) -> float:
        return float(self.result_.level) if level is None else check_level(level)

    def _predicted(self, rows: FloatArray, level: float, kind: PredictionKind) -> Prediction:
        fit = self.result_
        return predict_linear(
            rows,
            beta=fit.beta,
            cov=fit.cov,
            tau2=self.tau2_,
            level=level,
            df=fit.df,
            residual_df=fit.residual_df,
            kind=kind,
        )

    def _used(self, name: str, values: object) -> np.ndarray[Any, Any]:
        """Values of the studies in the fit, given for those or for all rows of the fit's input."""
        check_is_fitted(self)
        return self.studies_.matched(name, values)

    def _unpacked(self, record: Any, index: pd.Index[Any], skip: tuple[str, ...]) -> pd.DataFrame:
        """Give a record's arrays as columns; those over coefficients become one column each."""
        columns: dict[str, Any] = {}
        for name in record.__dataclass_fields__:
            if name in skip:
                continue
            values, label = getattr(record, name), column_name(name)
            if np.ndim(values) == 2:
                for j, coefficient in enumerate(self.coef_names_):
                    columns[f"{label}_{coefficient}"] = values[:, j]
            else:
                columns[label] = values
        return pd.DataFrame(columns, index=index)

    def _store_design(self, studies: Studies) -> None:
        spec = studies.spec
        self.studies_ = studies
        self.design_ = spec
        self.coef_names_ = np.array(spec.names, dtype=object)
        self.dropped_columns_ = np.array(spec.dropped, dtype=object)
        self.n_studies_ = studies.y.size
        self.n_features_in_ = spec.n_features
        if spec.columns and all(isinstance(column.name, str) for column in spec.columns):
            self.feature_names_in_ = np.array([c.name for c in spec.columns], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of an earlier fit

    def _left_out(self) -> list[tuple[str, str]]:
        told = self.studies_.left_out
        return [("Left out", told)] if told else []

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        # Tables may hold text and factors; rows with gaps are left out, with a warning.
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        # `score` is a mean log density, not the R2 that this tag is about.
        tags.regressor_tags.poor_score = True
        return tags


def _carried(
    table: pd.DataFrame, transform: Transform | Callable[[FloatArray], FloatArray]
) -> pd.DataFrame:
    carried = table.drop(columns="se")
    values = carried.to_numpy(dtype=np.float64)
    if callable(transform):
        moved = _moved(transform, values)
    else:
        check_choice("transform", transform, TRANSFORMS)
        if transform == "exp":
            moved = np.exp(values)
        else:
            moved = back_transform(values, "PLO" if transform == "logit" else transform)
    return pd.DataFrame(moved, index=carried.index, columns=carried.columns)


def _moved(transform: Callable[[FloatArray], FloatArray], values: FloatArray) -> FloatArray:
    """Apply a caller's function to means, lower and upper limits (in columns)."""
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused below
            moved = np.asarray(transform(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"transform fails for an array ({error}); give a function that works element by "
            "element, such as numpy.exp"
        ) from error
    if moved.shape != values.shape:
        raise InputError(
            f"transform turns shape {values.shape} into {moved.shape}; give a function that "
            "works element by element"
        )
    if np.any(np.isnan(moved) & ~np.isnan(values)):
        bad = float(values[np.isnan(moved) & ~np.isnan(values)][0])
        raise InputError(f"transform gives NaN at {bad!r}; give a function defined everywhere")
    if np.any(moved[:, 1::2] > moved[:, 2::2]):
        raise InputError(
            "transform is decreasing, so it turns lower limits into upper ones; give an increasing "
            "function"
        )
    return moved


def check_flag(name: str, value: object) -> bool:
    """Check a switch.

    Raises
    ------
    InputError
        If it is neither True nor False.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {value!r}; give True or False")
    return bool(value)
