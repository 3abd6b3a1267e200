"""Combinations of the coefficients of a fitted :class:`~ketacast.estimators.MetaRegression`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ketacast.errors import InputError
from ketacast.estimators.base import MetaEstimator
from ketacast.estimators.tables import Result
from ketacast.numerics.comparison import contrast
from ketacast.numerics.diagnostics import vif


class CoefficientInference(MetaEstimator):
    """Contrasts and variance inflation, by the coefficients' names."""

    def contrast(self, L: object, rhs: object = 0.0) -> Result:
        """Test linear combinations of the coefficients, each and all together.

        Parameters
        ----------
        L : mapping, sequence of str, or array_like (m, p) or (p,)
            Weights by coefficient name (others 0); names of coefficients to test jointly;
            or a matrix with one combination per row, the intercept's weight included.
        rhs : float or array_like, shape (m,)
            Values under the null hypothesis.

        Returns
        -------
        Result
            table: estimate, se, statistic, p_value, ci_lower, ci_upper, rhs per
            combination; record: the same and the joint test (omnibus).

        Raises
        ------
        InputError
            For unknown names, rows of another length or rows of zeros.
        """
        rows, labels = self._combinations(L)
        found = contrast(self.result_, rows, rhs)
        columns = ("estimate", "se", "statistic", "p_value", "ci_lower", "ci_upper", "rhs")
        table = pd.DataFrame({name: getattr(found, name) for name in columns}, index=labels)
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
        asked = None if sets is None else [self._positions(names) for names in sets.values()]
        found = vif(self.result_, asked)
        index = [self.coef_names_[one[0]] for one in found.columns] if sets is None else list(sets)
        return pd.DataFrame({"vif": found.vif, "sif": found.sif}, index=index)

    def _positions(self, names: Sequence[str]) -> list[int]:
        known = self.coef_names_.tolist()
        for name in names:
            if name not in known:
                listed = ", ".join(repr(one) for one in known)
                raise InputError(f"{name!r} is not a coefficient; choose from {listed}")
        return [known.index(name) for name in names]

    def _combinations(self, L: Any) -> tuple[object, list[str]]:
        check_is_fitted(self)
        p = self.coef_names_.size
        if isinstance(L, Mapping):
            row = np.zeros((1, p))
            row[0, self._positions(list(L))] = list(L.values())
            return row, [" ".join(f"{weight:+g}*{name}" for name, weight in L.items())]
        if isinstance(L, str):
            raise InputError(f"L is {L!r}; give [{L!r}], weights by name, or a matrix")
        if isinstance(L, Sequence) and all(isinstance(name, str) for name in L):
            return np.eye(p)[self._positions(L)], list(L)
        rows = np.atleast_2d(np.asarray(L))
        return L, [f"row {i}" for i in range(len(rows))]
