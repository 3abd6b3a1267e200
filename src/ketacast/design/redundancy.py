"""Columns of a design that are combinations of earlier ones."""

from __future__ import annotations

from typing import Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.numerics.linalg import COLLINEARITY

#: Length of what a unit column has beyond the columns before it, from which on the
#: squares in a Cholesky root have lost no digit that matters here.
PLAIN: Final = 1e-3


def independent_columns(full: FloatArray) -> tuple[int, ...]:
    """Columns that are not combinations of earlier ones, as the numerics judge it."""
    if _plainly_independent(full):
        return tuple(range(full.shape[1]))
    basis = np.empty((full.shape[0], 0))
    kept = []
    for j, column in enumerate(full.T):
        length = float(np.linalg.norm(column))
        if length == 0.0:
            continue
        own = column / length
        for _ in range(2):  # once more, for what rounding left of the projection
            own = own - basis @ (basis.T @ own)
        size = float(np.linalg.norm(own))
        if size >= COLLINEARITY:
            basis = np.column_stack([basis, own / size])
            kept.append(j)
    return tuple(kept)


def _plainly_independent(full: FloatArray) -> bool:
    """Whether all columns are so far from each other that squares can tell."""
    squares = full.T @ full
    size = np.sqrt(squares.diagonal())
    if not size.all():
        return False
    try:
        root = np.linalg.cholesky(squares / (size * size[:, None]))
    except np.linalg.LinAlgError:
        return False
    return bool(root.diagonal().min(initial=1.0) >= PLAIN)


def relation_of(full: FloatArray, kept: tuple[int, ...]) -> FloatArray:
    """Weights (kept, dropped) of the kept columns that give the dropped ones."""
    left_out = [j for j in range(full.shape[1]) if j not in kept]
    if not left_out:
        return frozen(np.empty((len(kept), 0)))
    columns = full[:, list(kept)]
    size = np.linalg.norm(columns, axis=0)
    weights = np.linalg.lstsq(columns / size, full[:, left_out], rcond=None)[0]
    return frozen(weights / size[:, None])


def spans(larger: FloatArray, smaller: FloatArray) -> bool:
    """Whether every column of one design is a combination of another's columns.

    Parameters
    ----------
    larger, smaller : ndarray, shapes (k, p), (k, q)
        Designs without redundant columns.
    """
    basis = np.linalg.qr(larger / np.linalg.norm(larger, axis=0))[0]
    unit = smaller / np.linalg.norm(smaller, axis=0)
    left = unit - basis @ (basis.T @ unit)
    # Far above rounding, far below what a column of its own would leave.
    return bool(np.all(np.linalg.norm(left, axis=0) < 1e-9))
