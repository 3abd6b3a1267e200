"""Checks of grouped data, and the blocks that the fits work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.labels import label_list
from ketacast.numerics.linalg import design_basis
from ketacast.numerics.mixed.marginal_covariance import BlockClass, IntArray, MarginalModel

#: Relative asymmetry of a covariance that rounding in its making explains.
SYMMETRY: Final = 1e-10
#: Smallest eigenvalue of the sampling correlation that is not singular but for rounding.
DEFINITE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Groups:
    """Labels as numbers: `index` of each row's label in `labels`."""

    index: IntArray
    labels: tuple[object, ...]

    @property
    def members(self) -> list[IntArray]:
        """Rows of each group."""
        order = np.argsort(self.index, kind="stable")
        counts = np.bincount(self.index, minlength=len(self.labels))
        return np.split(order, np.cumsum(counts)[:-1])


def read_groups(name: str, labels: object, k: int, *, in_order: bool = False) -> Groups:
    """Turn labels into numbers, by first appearance, or by their order.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    labels : sequence, length k
        Text or numbers.
    k : int
        Number of rows.
    in_order : bool
        Sort the labels (as text, if they cannot be compared).

    Raises
    ------
    InputError
        As :func:`ketacast.numerics.labels.label_list`.
    """
    values = label_list(name, labels, k)
    unique = list(dict.fromkeys(values))
    if in_order:
        textual = len({isinstance(value, str) for value in unique}) > 1
        unique.sort(key=str if textual else None)
    place = {value: i for i, value in enumerate(unique)}
    return Groups(np.array([place[value] for value in values], dtype=np.intp), tuple(unique))


def read_sampling(name: str, v: object, groups: Groups) -> FloatArray:
    """Check sampling variances (k,) or a sampling covariance (k, k), 0 between groups.

    Raises
    ------
    InputError
        For a wrong shape, values that are not variances, a matrix that is not
        symmetric or positive definite, or covariance between groups.
    """
    array, k = real_array(name, v), groups.index.size
    if array.shape not in ((k,), (k, k)):
        raise InputError(
            f"{name} has shape {array.shape} for {k} effects; give {k} variances or a {k} by {k} "
            "covariance"
        )
    variances = array if array.ndim == 1 else np.diag(array)
    refuse_where(
        name if array.ndim == 1 else f"diagonal of {name}",
        variances,
        variances <= 0.0,
        "must be greater than 0; a variance of 0 would claim a study without sampling error",
    )
    if array.ndim == 1:
        return array
    size = np.sqrt(np.outer(variances, variances))
    refuse_where(
        name, array, np.abs(array - array.T) > SYMMETRY * size, "must equal its mirror element"
    )
    apart = groups.index[:, None] != groups.index[None, :]
    refuse_where(name, array, apart & (array != 0.0), "must be 0: the two rows are in other groups")
    for rows in groups.members:
        inside = np.ix_(rows, rows)
        smallest = float(np.linalg.eigvalsh(array[inside] / size[inside])[0])
        if smallest < DEFINITE:
            raise InputError(
                f"{name} is not positive definite in group {groups.labels[groups.index[rows[0]]]!r}"
                f" (smallest eigenvalue of the correlations {smallest:.2e}); correct the "
                "covariances or drop an estimate that follows from the others"
            )
    return array


def build_model(
    y: FloatArray,
    sampling: FloatArray,
    X: object,
    groups: Groups,
    patterns: Callable[[IntArray], FloatArray],
) -> MarginalModel:
    """Sort the groups into classes of one size.

    Parameters
    ----------
    y, sampling, groups
        Checked data.
    X : array_like, shape (k, p)
        Design, checked here.
    patterns : callable
        From the rows (b, n) of a class to its patterns, shape (J, b, n, n).

    Raises
    ------
    InputError
        For an unusable design.
    """
    basis = design_basis(X, y.size)
    sizes: dict[int, list[IntArray]] = {}
    for rows in groups.members:
        sizes.setdefault(rows.size, []).append(rows)
    classes = []
    for size in sorted(sizes):
        rows = np.array(sizes[size])
        if sampling.ndim == 1:
            blocks = sampling[rows][:, :, None] * np.eye(size)
        else:
            blocks = sampling[rows[:, :, None], rows[:, None, :]]
        classes.append(BlockClass(rows, blocks, patterns(rows)))
    return MarginalModel(y, basis, tuple(classes))


def level_patterns(rows: IntArray, *, separable: bool) -> FloatArray:
    """Patterns of a variance between groups and, if separable, one within."""
    b, n = rows.shape
    within = np.broadcast_to(np.eye(n), (b, n, n))
    between = np.ones((b, n, n))
    return np.stack([between, within]) if separable else between[None]


def outcome_patterns(outcomes: IntArray, m: int) -> FloatArray:
    """Patterns of each element of the upper triangle of G, given outcomes (b, n)."""
    first, second = np.triu_indices(m)
    row, column = outcomes[:, :, None], outcomes[:, None, :]
    i, j = first[:, None, None, None], second[:, None, None, None]
    return np.asarray(((row == i) & (column == j)) | ((row == j) & (column == i)), dtype=np.float64)


def without_group(model: MarginalModel, X: FloatArray, rows: IntArray) -> MarginalModel:
    """Leave out the rows of one whole group.

    Raises
    ------
    InputError
        If the design loses its rank.
    """
    keep = np.ones(model.k, dtype=bool)
    keep[rows] = False
    place = np.cumsum(keep) - 1
    classes = []
    for block in model.classes:
        kept = keep[block.rows[:, 0]]
        if kept.any():
            classes.append(
                BlockClass(place[block.rows[kept]], block.sampling[kept], block.patterns[:, kept])
            )
    return MarginalModel(model.y[keep], design_basis(X[keep], int(keep.sum())), tuple(classes))


def frozen_index(index: IntArray) -> IntArray:
    """Read-only copy."""
    copy = index.copy()
    copy.flags.writeable = False
    return copy
