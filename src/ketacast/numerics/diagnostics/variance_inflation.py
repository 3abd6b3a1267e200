"""Variance inflation: what moderators that go together cost in precision.

References
----------
Fox & Monette 1992, J Am Stat Assoc 87:178.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.numerics.comparison import refuse_without_spread
from ketacast.numerics.normal import NormalFit
from ketacast.numerics.records import PlainRecord


@dataclass(frozen=True, slots=True)
class VarianceInflation(PlainRecord):
    """How much moderators that go together widen each other's intervals.

    Attributes
    ----------
    columns : tuple of tuple of int
        Columns of the design in each set.
    vif : ndarray, shape (number of sets,)
        (Generalised) variance inflation factor, at least 1.
    sif : ndarray, shape (number of sets,)
        The same per coefficient and on the scale of standard errors,
        ``vif^(1 / 2m)`` for m columns.
    """

    columns: tuple[tuple[int, ...], ...]
    vif: FloatArray
    sif: FloatArray


def vif(fit: NormalFit, sets: Sequence[Sequence[int]] | None = None) -> VarianceInflation:
    """Variance inflation factors of a fit's moderators.

    For a set A of coefficients and the others B, ``det R_A det R_B / det R``
    with the correlation matrix R of all coefficients but the intercept (Fox &
    Monette 1992). It answers for the fit's own tau2: that tau2 would change
    without the other moderators is left out.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    sets : sequence of sequences of int, optional
        Columns that belong together, such as the dummies of one factor; each
        moderator by itself by default.

    Raises
    ------
    InputError
        For a fit without moderators, columns that are not moderators or are
        repeated, and a Knapp-Hartung fit of effects without residual spread.
    """
    refuse_without_spread(fit)
    moderators = [j for j in range(fit.p) if j != fit.intercept]
    if not moderators:
        raise InputError("the fit has the intercept only; fit moderators to ask for their VIF")
    groups: object = [(j,) for j in moderators] if sets is None else sets
    asked = [_columns(one, moderators) for one in _members(groups)]
    if not asked:
        raise InputError(f"sets is {sets!r}; give sets of columns, such as [[{moderators[0]}]]")
    size = np.sqrt(np.diag(fit.cov))
    correlation = fit.cov / np.outer(size, size)
    whole = _log_det(correlation, moderators)
    logs = np.array(
        [
            _log_det(correlation, one)
            + _log_det(correlation, [j for j in moderators if j not in one])
            - whole
            for one in asked
        ]
    )
    per_coefficient = np.exp(logs / [2.0 * len(one) for one in asked])
    return VarianceInflation(tuple(asked), frozen(np.exp(logs)), frozen(per_coefficient))


def _members(values: object) -> tuple[object, ...]:
    """Members of a sequence; none of what is not one."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        return ()
    return tuple(values)


def _columns(one: object, moderators: Sequence[int]) -> tuple[int, ...]:
    """Check one set of columns."""
    columns = tuple(
        int(j) for j in _members(one) if isinstance(j, int | np.integer) and not isinstance(j, bool)
    )
    complete = len(columns) == len(_members(one)) > 0
    if not complete or len(set(columns)) < len(columns) or not set(columns) <= set(moderators):
        raise InputError(
            f"the set of columns {one!r} is not usable; give sequences of different ones out of "
            f"{list(moderators)}, the moderators"
        )
    return columns


def _log_det(matrix: FloatArray, index: Sequence[int]) -> float:
    return float(np.linalg.slogdet(matrix[np.ix_(index, index)])[1])
