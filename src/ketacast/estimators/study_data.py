"""The studies of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ketacast.arrays import BoolArray, FloatArray
from ketacast.design import DesignSpec
from ketacast.errors import InputError


@dataclass(frozen=True, slots=True)
class Studies:
    """Complete studies, ready for a fit.

    Attributes
    ----------
    y : ndarray, shape (k,)
        Effects (or events).
    matrix : ndarray, shape (k, p)
        Design.
    spec : DesignSpec
        How the design was made.
    used : ndarray of bool, shape (rows given,)
        Which rows are among the k.
    row_labels : Index or None
        Row labels of what was given; None where nothing had labels.
    numbers : dict of str to ndarray, shape (k,)
        Further numbers per study, such as sampling variances.
    groups : ndarray of object or None, shape (k,)
        Group of each study.
    moderators : DataFrame or ndarray or None, k rows
        Moderators as they were read: columns of numbers and categories, or numbers.
    """

    y: FloatArray
    matrix: FloatArray
    spec: DesignSpec
    used: BoolArray
    row_labels: pd.Index[Any] | None
    numbers: dict[str, FloatArray]
    groups: np.ndarray[Any, Any] | None
    moderators: pd.DataFrame | FloatArray | None

    @property
    def labels(self) -> pd.Index[Any]:
        """Row labels of the k studies; positions where nothing had labels."""
        rows = pd.RangeIndex(self.used.size) if self.row_labels is None else self.row_labels
        return rows[self.used]

    @property
    def table(self) -> pd.DataFrame:
        """Moderators of the k studies, one column each; "x0", "x1", ... where they had no name."""
        if isinstance(self.moderators, pd.DataFrame):
            return self.moderators.set_axis(self.labels, axis=0)
        if self.moderators is None:
            return pd.DataFrame(index=self.labels)
        names = [f"x{j}" for j in range(self.moderators.shape[1])]
        return pd.DataFrame(self.moderators, index=self.labels, columns=names)

    def matched(self, name: str, values: object) -> np.ndarray[Any, Any]:
        """Values of the k studies, given for them or for all rows that the fit was given.

        Raises
        ------
        InputError
            For another number of values, or row labels that are not those of the fit.
        """
        array = np.asarray(values, dtype=object)
        whole = array.shape == self.used.shape
        if not whole and array.shape != self.y.shape:
            raise InputError(
                f"{name} has shape {array.shape} for {self.used.size} rows, {self.y.size} of them "
                "in the fit; give one value per row"
            )
        if isinstance(values, pd.Series) and self.row_labels is not None:
            wanted = self.row_labels if whole else self.labels
            if not wanted.equals(values.index):
                raise InputError(
                    f"{name} has other row labels than the data of the fit "
                    f"({values.index[:3].tolist()} and {wanted[:3].tolist()} first), so its rows "
                    f"may not belong to them; align it, or give {name}.to_numpy() if the order is "
                    "right"
                )
        return array[self.used] if whole else array

    @property
    def left_out(self) -> str:
        """Rows and columns that were given and are not in the fit, in words; "" if none."""
        rows = int((~self.used).sum())
        told = [f"{rows} of {self.used.size} rows (missing values)"] if rows else []
        if self.spec.dropped:
            told.append("redundant columns: " + ", ".join(self.spec.dropped))
        if self.spec.constant_factors:
            told.append("factors of one level: " + ", ".join(self.spec.constant_factors))
        return "; ".join(told)
