"""Many meta-regressions at once: checked data in a common orthonormal basis.

Model of problem b: ``y ~ N(X beta, diag(v) + tau2 I)`` over the rows that are
included. Designs are carried to a basis with orthonormal columns, where an
uncentred year is as harmless as a centred one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import BoolArray, FloatArray, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.linalg import Basis, basis_of

IntArray = NDArray[np.intp]

#: Effects and variances whose cubes still fit double precision.
LARGEST: Final = 1e90
#: Beyond this factor between variances the score of tau2 is all rounding.
WIDEST: Final = 1e14


@dataclass(frozen=True, slots=True)
class Problem:
    """B meta-regressions; D is 1 where all share one design, else B.

    Attributes
    ----------
    y, v : ndarray, shape (B, k)
        Effects and sampling variances (>= 0).
    basis : ndarray, shape (D, k, p)
        Design columns, orthonormal over the rows of all problems.
    include : ndarray of bool, shape (B, k), or None
        Rows that belong to each problem; None means all.
    rounding : float
        What rounding leaves where a part of the basis is truly 0.
    """

    y: FloatArray
    v: FloatArray
    basis: FloatArray
    include: BoolArray | None = None
    rounding: float = 0.0

    @property
    def count(self) -> int:
        """Number of problems."""
        return int(self.y.shape[0])

    @property
    def p(self) -> int:
        """Number of coefficients."""
        return int(self.basis.shape[-1])

    @property
    def k(self) -> IntArray:
        """Studies of each problem, shape (B,)."""
        if self.include is None:
            return np.full(self.y.shape[0], self.y.shape[1])
        return np.asarray(np.sum(self.include, axis=1), dtype=np.intp)

    @property
    def residual_df(self) -> IntArray:
        """Studies minus coefficients, shape (B,)."""
        return self.k - self.p

    @property
    def shared_effects(self) -> bool:
        """Whether all problems have the same effects in every row."""
        return self.y.shape[0] == 1 or self.y.strides[0] == 0

    @property
    def least_variance(self) -> FloatArray:
        """Smallest sampling variance of each problem, shape (B,)."""
        if self.include is None:
            return np.asarray(self.v.min(axis=1), dtype=np.float64)
        return np.asarray(np.where(self.include, self.v, np.inf).min(axis=1), dtype=np.float64)

    @property
    def largest_variance(self) -> FloatArray:
        """Largest sampling variance of each problem, shape (B,)."""
        if self.include is None:
            return np.asarray(self.v.max(axis=1), dtype=np.float64)
        return np.asarray(np.where(self.include, self.v, 0.0).max(axis=1), dtype=np.float64)

    def masked_basis(self) -> FloatArray:
        """Design columns with zeros in the rows left out, shape (D or B, k, p)."""
        if self.include is None:
            return self.basis
        return self.basis * self.include[:, :, None]

    def masked(self, values: FloatArray) -> FloatArray:
        """Values (B, k) with zeros in the rows left out."""
        return values if self.include is None else np.where(self.include, values, 0.0)

    def rows(self, index: IntArray) -> Problem:
        """Problems chosen (and repeated) by index; sharing is kept."""

        def chosen(values: FloatArray) -> FloatArray:
            if values.strides[0] == 0:
                return np.broadcast_to(values[:1], (index.size, *values.shape[1:]))
            return values[index]

        basis = self.basis if len(self.basis) == 1 else chosen(self.basis)
        include = None if self.include is None else self.include[index]
        return Problem(chosen(self.y), chosen(self.v), basis, include, self.rounding)


def checked_problem(
    y: object, v: object, X: object, include: object = None
) -> tuple[Problem, Basis]:
    """Check effects, variances and designs, and carry the designs to a common basis.

    Parameters
    ----------
    y, v : array_like, shape (k,) or (B, k)
        Effects and sampling variances (>= 0).
    X : array_like, shape (k, p) or (B, k, p)
        Designs, the intercept's column of ones included.
    include : array_like of bool, shape (k,) or (B, k), optional
        Rows that belong to each problem.

    Returns
    -------
    Problem, Basis
        The basis' `back` carries coefficients of the problems' basis to X.

    Raises
    ------
    InputError
        For unusable values, shapes that do not match, or linearly dependent
        columns of the stacked designs.
    """
    effects, variances, design = real_array("y", y), real_array("v", v), real_array("X", X)
    if variances.min() < 0.0:
        refuse_where("v", variances, variances < 0.0, "must be 0 or more, a sampling variance")
    _refuse_wide(variances)
    _refuse_extreme(effects, variances)
    effects, variances = np.atleast_2d(effects), np.atleast_2d(variances)
    if effects.ndim != 2 or variances.ndim != 2 or design.ndim not in (2, 3):
        raise InputError(
            f"y, v and X have shapes {effects.shape}, {variances.shape} and {design.shape}; "
            "give (k,), (k,) and (k, p), or with a leading batch axis (2 dimensions for X)"
        )
    k = effects.shape[1]
    if variances.shape[1] != k:
        raise InputError(
            f"y has shape {effects.shape} and v {variances.shape}; give one variance per effect"
        )
    if design.shape[-2] != k:
        raise InputError(f"X has {design.shape[-2]} rows for {k} studies; give one row per study")
    stacked = design.reshape(-1, design.shape[-1])
    basis = basis_of(stacked, spare=0)
    columns = basis.columns.reshape(-1, k, stacked.shape[1])
    mask = None if include is None else _checked_mask(include, k)
    count = max(len(effects), len(variances), len(columns), 1 if mask is None else len(mask))
    if mask is not None and len(mask) not in (1, count):
        raise InputError(f"include holds {len(mask)} masks for {count} problems; give 1 or {count}")
    if len(columns) not in (1, count):
        raise InputError(f"X holds {len(columns)} designs for {count} problems; give 1 or {count}")
    spread = _spread("v", variances, count)
    if mask is not None and variances.min() == 0.0:
        # What is left out must not divide by 0.
        spread = np.where(mask, spread, 1.0)
    # Orthonormal over the stack of D designs, so of length 1 / sqrt(D) in each of them.
    size = float(np.sqrt(len(columns)))
    problem = Problem(
        _spread("y", effects, count),
        spread,
        columns * size,
        None if mask is None else np.broadcast_to(mask, (count, k)),
        basis.rounding,
    )
    return problem, replace(basis, back=basis.back * size)


def _refuse_extreme(effects: FloatArray, variances: FloatArray) -> None:
    largest = max(float(np.abs(effects).max()), float(variances.max()))
    if largest > LARGEST or float(variances[variances > 0.0].min(initial=1.0)) < 1.0 / LARGEST:
        raise InputError(
            f"y and v hold values up to {largest:.3g} or down to "
            f"{float(variances[variances > 0.0].min(initial=1.0)):.3g}, whose squares leave the "
            "range of double precision; use other units"
        )


def _refuse_wide(variances: FloatArray) -> None:
    largest = float(variances.max())
    if float(variances.min()) * WIDEST >= largest:
        return
    least = float(variances[variances > 0.0].min(initial=np.inf))
    if largest > WIDEST * least:
        raise InputError(
            f"v spans {least!r} to {largest!r}; double precision cannot weigh studies whose "
            f"sampling variances differ by more than {WIDEST:g}, check their units"
        )


def _checked_mask(include: object, k: int) -> BoolArray:
    mask = np.asarray(include)
    if mask.dtype != np.bool_ or mask.ndim not in (1, 2) or mask.shape[-1] != k:
        raise InputError(
            f"include has type {mask.dtype} and shape {mask.shape}; give True or False for each "
            f"of the {k} studies"
        )
    return np.atleast_2d(mask)


def _spread(name: str, values: FloatArray, count: int) -> FloatArray:
    if len(values) == count:
        return values
    if len(values) != 1:
        raise InputError(f"{name} holds {len(values)} problems of {count}; give 1 or {count}")
    return np.broadcast_to(values, (count, values.shape[1]))
