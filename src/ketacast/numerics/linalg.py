"""Design matrices: checks and an orthonormal basis of their columns.

Fits run in the basis, where an uncentred year is as harmless as a centred
one; coefficients and covariances are carried back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import lapack

from ketacast.arrays import FloatArray, real_array
from ketacast.errors import InputError

#: Rounding of a column of length 1, with room for the operations on it.
ROUNDING: Final = 256.0 * float(np.finfo(np.float64).eps)
#: A column that is a combination of the others to 1 part in 1e11 would leave
#: fewer than five correct digits in its coefficient (double precision has 16); the
#: difference of two years keeps a part of some 1e-12 that is only its rounding.
COLLINEARITY: Final = 1e-11


@dataclass(frozen=True, slots=True)
class Basis:
    """Orthonormal basis of a design matrix.

    Attributes
    ----------
    columns : ndarray, shape (k, p)
        Orthonormal columns Q with ``X = Q inverse(back)``.
    back : ndarray, shape (p, p)
        Coefficients of X are ``back @ gamma`` for coefficients gamma of Q.
    intercept : int or None
        Index of the column of ones in X, if there is one.
    rounding : float
        Size of what rounding leaves where a part of a column of `columns` is
        truly 0: a column of X that is mostly a combination of the others has few
        digits of its own.
    """

    columns: FloatArray
    back: FloatArray
    intercept: int | None
    rounding: float


def design_basis(X: object, k: int, *, spare: int = 1) -> Basis:
    """Check a design matrix and orthonormalise its columns.

    Parameters
    ----------
    X : array_like, shape (k, p)
        Moderator columns, the intercept's column of ones included.
    k : int
        Number of studies.
    spare : int
        Least number of studies beyond the number of columns.

    Returns
    -------
    Basis

    Raises
    ------
    InputError
        If X is not (k, p) with p + spare <= k, has a column of zeros, or has a
        column that is a linear combination of earlier ones.
    """
    matrix = real_array("X", X, ndim=2)
    if matrix.shape[0] != k:
        raise InputError(f"X has {matrix.shape[0]} rows for {k} studies; give one row per study")
    return basis_of(matrix, spare=spare)


def basis_of(matrix: FloatArray, *, spare: int) -> Basis:
    """Orthonormalise the columns of a checked matrix; see :func:`design_basis`."""
    k, p = matrix.shape
    if k < p + spare:
        raise InputError(
            f"X has {p} columns for {k} studies; a random-effects fit needs more studies than "
            "coefficients, drop moderators"
        )
    size = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    if not size.all():
        column = int(np.argmin(size))
        raise InputError(f"X[:, {column}] is all zeros; drop it")
    # LAPACK directly: for designs of this size its wrappers cost more than the work.
    packed, reflectors, _, _ = lapack.dgeqrf(matrix / size)
    q, _, _ = lapack.dorgqr(packed, reflectors)
    triangle = packed[:p]
    own_part = np.abs(triangle.diagonal())
    if own_part.min() < COLLINEARITY:
        column = int(np.argmax(own_part < COLLINEARITY))
        raise InputError(
            f"X[:, {column}] is a linear combination of the columns before it (what is left of "
            f"it is {own_part[column]:.1e} of its length); drop it or merge moderators"
        )
    inverse, _ = lapack.dtrtri(triangle)
    for column in range(p - 1):
        inverse[column + 1 :, column] = 0.0  # LAPACK leaves its reflectors there
    constant = (matrix == 1.0).all(axis=0)
    intercept = int(constant.argmax()) if constant.any() else None
    return Basis(q, inverse / size[:, None], intercept, ROUNDING / float(own_part.min()))
