"""What the diagnostics that refit the model many times have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import BoolArray, FloatArray, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.labels import Label, label_list

#: Memory that one batch of refits may take.
CHUNK_BYTES: Final = 64_000_000
#: Arrays of the size of the whitened design that a fit holds at once, when the search
#: for tau2 evaluates many points together.
COPIES_PER_FIT: Final = 32


@dataclass(frozen=True, slots=True)
class Studies:
    """Data of one meta-regression as arrays; the fit itself checks their values.

    Attributes
    ----------
    y, v : ndarray, shape (k,)
        Effects and sampling variances.
    X : ndarray, shape (k, p)
        Design.
    """

    y: FloatArray
    v: FloatArray
    X: FloatArray

    @property
    def k(self) -> int:
        """Number of studies."""
        return int(self.y.size)

    @property
    def p(self) -> int:
        """Number of coefficients."""
        return int(self.X.shape[1])


def as_studies(y: object, v: object, X: object) -> Studies:
    """Convert effects, variances and design to arrays.

    Raises
    ------
    InputError
        For values that are not finite numbers and wrong numbers of dimensions.
    """
    return Studies(
        real_array("y", y, ndim=1), real_array("v", v, ndim=1), real_array("X", X, ndim=2)
    )


def effects_and_variances(y: object, v: object) -> tuple[FloatArray, FloatArray]:
    """Check effects and sampling variances above 0, both of shape (k,).

    Raises
    ------
    InputError
        For unusable values and different lengths.
    """
    effects, variances = real_array("y", y, ndim=1), real_array("v", v, ndim=1)
    if effects.size != variances.size:
        raise InputError(
            f"y has {effects.size} values and v {variances.size}; give one variance per effect"
        )
    refuse_where("v", variances, variances <= 0.0, "must be greater than 0")
    return effects, variances


def chunks(count: int, *, k: int, p: int, chunk_size: int | None = None) -> list[slice]:
    """Cut `count` refits of k studies and p coefficients into batches.

    Parameters
    ----------
    count, k, p : int
        Refits, studies, coefficients.
    chunk_size : int, optional
        Refits per batch; by default what fits into :data:`CHUNK_BYTES`.
    """
    if chunk_size is None:
        bytes_per_fit = 8 * COPIES_PER_FIT * k * (p + 4)
        chunk_size = max(1, CHUNK_BYTES // bytes_per_fit)
    else:
        chunk_size = whole_number("chunk_size", chunk_size, least=1)
    return [slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]


def leverages(X: FloatArray, total: FloatArray) -> FloatArray:
    """Diagonal of the hat matrix of a fit with weights ``1 / total``, shape (k,).

    Parameters
    ----------
    X : ndarray, shape (k, p)
        Design of full column rank.
    total : ndarray, shape (k,)
        Variances ``v + tau2`` (> 0).
    """
    return np.asarray(np.sum(whitened_basis(X, total) ** 2, axis=1), dtype=np.float64)


def whitened_basis(X: FloatArray, total: FloatArray) -> FloatArray:
    """Orthonormal columns of the design after division by ``sqrt(total)``, shape (k, p)."""
    # Columns of unit length, so that moderators of very different units do no harm.
    scaled = X / np.linalg.norm(X, axis=0) / np.sqrt(total)[:, None]
    return np.asarray(np.linalg.qr(scaled)[0], dtype=np.float64)


def frozen_flags(flags: BoolArray) -> BoolArray:
    """Return a read-only copy of flags."""
    copy = np.array(flags, dtype=np.bool_)
    copy.flags.writeable = False
    return copy


def whole_number(name: str, value: object, *, least: int) -> int:
    """Check a count.

    Raises
    ------
    InputError
        If `value` is not an integer or is below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")
    return int(value)


def deletions(groups: object, k: int) -> tuple[tuple[Label, ...], BoolArray]:
    """Labels of what is left out in turn, and which studies stay.

    Parameters
    ----------
    groups : array_like, shape (k,), or None
        Cluster labels (numbers or texts); None leaves out single studies,
        labelled 0 to k - 1.
    k : int
        Number of studies.

    Returns
    -------
    labels : tuple, length m
        In order of first appearance.
    include : ndarray of bool, shape (m, k)
        True where the study stays when label m is left out.

    Raises
    ------
    InputError
        For a wrong number of labels, missing labels or a single cluster.
    """
    if groups is None:
        return tuple(range(k)), ~np.eye(k, dtype=bool)
    names = label_list("groups", groups, k)
    labels = tuple(dict.fromkeys(names))
    if len(labels) < 2:
        raise InputError(f"groups has the one label {labels[0]!r}; leaving it out leaves no study")
    index = {label: i for i, label in enumerate(labels)}
    member: NDArray[np.intp] = np.array([index[name] for name in names])
    return labels, member[None, :] != np.arange(len(labels))[:, None]


def random_generator(seed: object) -> np.random.Generator:
    """Counter-based generator of a seed; draws are taken in one sequence, whatever the batches.

    Raises
    ------
    InputError
        If `seed` is not a whole number from 0 to 2^128 - 1.
    """
    key = whole_number("seed", seed, least=0)
    if key >= 2**128:
        raise InputError(f"seed is {key}; give a whole number below 2^128")
    return np.random.Generator(np.random.Philox(key=key))
