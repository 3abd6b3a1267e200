"""Combinations of the coefficients of a fitted estimator, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray, real_array
from ketacast.design import as_frame
from ketacast.errors import InputError
from ketacast.estimators.tables import Result, column_name
from ketacast.estimators.wald import WaldEstimator
from ketacast.numerics.comparison import contrast
from ketacast.numerics.diagnostics import vif


class CoefficientInference(WaldEstimator):
    """Contrasts and variance inflation, by the coefficients' names."""

    def contrast(self, L: object, rhs: object = 0.0) -> Result:
        """Test linear combinations of the coefficients, each and all together.

        Parameters
        ----------
        L : mapping, DataFrame, Series, sequence of str, or array_like (m, p) or (p,)
            Weights by coefficient name (others 0), a table holding one combination per
            row; names of coefficients to test jointly; or a matrix with one combination
            per row, the intercept's weight included.
        rhs : float or array_like, shape (m,)
            Values under the null hypothesis.

        Returns
        -------
        Result
            table: estimate, se, statistic, p_value, ci_lb, ci_ub, rhs per combination;
            record: the same as arrays, and the joint test (omnibus).

        Raises
        ------
        InputError
            For unknown names, rows of another length or rows of zeros.
        """
        rows, labels = self._combinations(L)
        found = contrast(self.result_, rows, rhs)
        columns = ("estimate", "se", "statistic", "p_value", "ci_lower", "ci_upper", "rhs")
        values = {column_name(name): getattr(found, name) for name in columns}
        table = pd.DataFrame(values, index=labels)
        return Result(table, found)

    def vif(self, sets: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
        """Variance inflation factors of the moderators.

        Parameters
        ----------
        sets : mapping of str to sequence of str, optional
            Coefficients that belong together (the levels of a factor) by a name of your
            choice; each by itself by default.

        Returns
        -------
        DataFrame
            One row per moderator or set: vif, and sif (per coefficient, on the scale of
            standard errors).

        Raises
        ------
        InputError
            Without moderators, or for unknown names.
        """
        check_is_fitted(self)
        if not (sets is None or isinstance(sets, Mapping)):
            raise InputError(
                f"sets is {sets!r}; give a dict with a list of coefficients under each name"
            )
        asked = None if sets is None else [self._positions(names) for names in sets.values()]
        found = vif(self.result_, asked)
        index = [self.coef_names_[one[0]] for one in found.columns] if sets is None else list(sets)
        return pd.DataFrame({"vif": found.vif, "sif": found.sif}, index=index)

    def _positions(self, names: Sequence[str]) -> list[int]:
        known = self.coef_names_.tolist()
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise InputError(f"{names!r} is no list of names; give one, such as [{known[-1]!r}]")
        for name in names:
            if name not in known:
                listed = ", ".join(repr(one) for one in known)
                raise InputError(f"{name!r} is not a coefficient; choose from {listed}")
        return [known.index(name) for name in names]

    def _combinations(self, L: Any) -> tuple[FloatArray, list[str]]:
        """Weights, shape (m, p), and a label for each row."""
        check_is_fitted(self)
        p = self.coef_names_.size
        if isinstance(L, str):
            raise InputError(f"L is {L!r}; give [{L!r}], weights by name, or a matrix")
        if isinstance(L, Mapping | pd.Series):
            weights = real_array("L", list(L.values() if isinstance(L, Mapping) else L), ndim=1)
            named = dict(zip(L.keys(), weights.tolist(), strict=True))
            rows = np.zeros((1, p))
            rows[0, self._positions(list(L.keys()))] = weights
            return rows, [" ".join(f"{weight:+g}*{name}" for name, weight in named.items())]
        if isinstance(L, np.ndarray | pd.Index) and L.dtype.kind not in "biuf":
            L = L.tolist()
        frame = as_frame(L)
        if frame is not None:
            rows = np.zeros((len(frame), p))
            rows[:, self._positions(list(frame.columns))] = real_array("L", frame.to_numpy())
            return rows, [str(label) for label in frame.index]
        if isinstance(L, Sequence) and L and all(isinstance(name, str) for name in L):
            return np.eye(p)[self._positions(L)], list(L)
        rows = np.atleast_2d(real_array("L", L))
        return rows, [f"row {i}" for i in range(len(rows))]
