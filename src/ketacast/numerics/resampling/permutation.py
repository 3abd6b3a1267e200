"""Permutation tests of the coefficients of a meta-regression.

Without moderators the signs of the effects are changed, with moderators the
rows of the design are permuted against the studies; every arrangement is
fitted anew, tau2 included.

References
----------
Follmann & Proschan 1999, Biometrics 55:732; Higgins & Thompson 2004, Stat Med
23:1663; Viechtbauer et al. 2015, Psychol Methods 20:360.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.numerics.comparison import refuse_without_spread
from ketacast.numerics.diagnostics.casewise import (
    Studies,
    as_studies,
    chunks,
    random_generator,
    whole_number,
)
from ketacast.numerics.normal import NormalFit, NormalTest, Tau2Method, fit_normal, fit_normal_batch
from ketacast.numerics.records import PlainRecord

#: Up to this many arrangements all are visited unless the caller says otherwise
#: (16 studies and an intercept, 8 studies and a moderator without ties): about a
#: second of fits.
EXACT_CAP: Final = 2**16
#: More than this many are not visited even when asked for.
EXACT_LIMIT: Final = 1_000_000
#: Statistics that differ by less than this, relative to the observed one or to 1 if
#: that is larger, are ties: equal arrangements differ by rounding and by the
#: tolerance of the search for tau2, which must not change a p-value.
TIE_TOLERANCE: Final = 1e-8

IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PermutationTest(PlainRecord):
    """Permutation p-values.

    Attributes
    ----------
    statistic : ndarray, shape (p,)
        Observed test statistics of the coefficients.
    p_value : ndarray, shape (p,)
        Share of arrangements whose statistic is at least as large in size
        (two-sided), the observed arrangement included.
    omnibus_statistic, omnibus_p : float
        The same for all moderators at once (upper tail).
    n_arrangements : int
        Arrangements visited, the observed one among them.
    exact : bool
        True if these were all there are.
    statistics : ndarray, shape (n_arrangements, p)
        Permutation distribution of the statistics. Under row permutations the
        intercept has one too, but no test of the intercept is meant by it.
    omnibus_statistics : ndarray, shape (n_arrangements,)
        Permutation distribution of the omnibus statistic.
    """

    statistic: FloatArray
    p_value: FloatArray
    omnibus_statistic: float
    omnibus_p: float
    n_arrangements: int
    exact: bool
    statistics: FloatArray
    omnibus_statistics: FloatArray


def permutation_test(
    y: object,
    v: object,
    X: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    exact: bool | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    chunk_size: int | None = None,
) -> PermutationTest:
    """Test coefficients by permutation, exactly or by a random sample.

    There are 2^k sign changes, or as many different permutations of the rows
    of X as k! divided by the factorials of how often each row occurs. P-values
    do not depend on the order of the studies when all are visited.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    X : array_like, shape (k, p)
        Design; a single constant column means sign changes.
    method, test
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`.
    exact : bool, optional
        Visit all arrangements, or a random sample. By default they are visited if
        there are no more than :data:`EXACT_CAP` or `n_permutations`.
    n_permutations : int
        Size of the random sample, the observed arrangement being its first
        member, so that no p-value is 0.
    seed : int
        Of the random sample (0 to 2^128 - 1).
    chunk_size : int, optional
        Fits at a time; it bounds memory and changes no more than the last digits
        of the statistics (1e-14).

    Raises
    ------
    InputError
        For unusable data; for ``exact=True`` with more than :data:`EXACT_LIMIT`
        arrangements; for a sample of 1, which tests nothing; and for a Knapp-Hartung
        test of effects without residual spread.
    """
    data = as_studies(y, v, X)
    observed = _observed_fit(data, method, test)
    wanted = whole_number("n_permutations", n_permutations, least=1)
    if exact is not None and not isinstance(exact, bool | np.bool_):
        raise InputError(f"exact is {exact!r}; give True, False or None")
    rows, labels = np.unique(data.X, axis=0, return_inverse=True)
    labels = labels.reshape(-1)
    # Permuting equal rows changes nothing; with full rank they are a single column.
    signs = len(rows) == 1
    total = 2**data.k if signs else _count_orders(labels)
    visit_all = _is_exact(total, exact, wanted)
    count = total if visit_all else wanted
    if count < 2:
        raise InputError(
            f"n_permutations is {wanted}: the observed arrangement alone tests nothing; give 2 or "
            "more, hundreds for a usable p-value"
        )
    parts = chunks(count, k=data.k, p=data.p, chunk_size=chunk_size)
    draws = None if visit_all else random_generator(seed)
    statistics, omnibus = np.empty((count, data.p)), np.empty(count)
    problems = _problems(data, None if signs else labels, parts, draws)
    design = rows[np.sort(labels)]
    for part, (effects, variances) in zip(parts, problems, strict=True):
        fits = fit_normal_batch(effects, variances, design, method=method, test=test)
        statistics[part], omnibus[part] = fits.statistic, fits.qm
    return PermutationTest(
        statistic=frozen(observed.statistic),
        p_value=frozen(_share_as_large(np.abs(statistics), np.abs(observed.statistic))),
        omnibus_statistic=observed.moderators.statistic,
        omnibus_p=float(_share_as_large(omnibus, np.asarray(observed.moderators.statistic))),
        n_arrangements=count,
        exact=visit_all,
        statistics=frozen(statistics),
        omnibus_statistics=frozen(omnibus),
    )


def _observed_fit(data: Studies, method: Tau2Method, test: NormalTest) -> NormalFit:
    fit = fit_normal(data.y, data.v, data.X, method=method, test=test)
    refuse_without_spread(fit)
    return fit


def _problems(
    data: Studies,
    labels: IntArray | None,
    parts: list[slice],
    draws: np.random.Generator | None,
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Effects and variances of each part's arrangements; without labels, signs are changed."""
    if labels is None:
        for change in _sign_changes(data.k, parts, draws):
            yield data.y * change, data.v
    else:
        for order in _orders(labels, parts, draws):
            yield data.y[order], data.v[order]


def _is_exact(total: int, exact: bool | None, wanted: int) -> bool:
    if exact is None:
        return total <= max(EXACT_CAP, wanted) and total <= EXACT_LIMIT
    if exact and total > EXACT_LIMIT:
        raise InputError(
            f"exact=True asks for {total} fits and at most {EXACT_LIMIT} are made; leave exact out "
            "for a random sample of arrangements"
        )
    return exact


def _share_as_large(values: FloatArray, observed: FloatArray) -> FloatArray:
    slack = TIE_TOLERANCE * np.maximum(1.0, observed)
    # Not smaller, so that an arrangement whose statistic is 0/0 counts against the effect.
    return np.asarray(np.mean(~(values < observed - slack), axis=0), dtype=np.float64)


def _sign_changes(
    k: int, parts: list[slice], draws: np.random.Generator | None
) -> Iterator[FloatArray]:
    """Factors 1 and -1, shape (part, k); the observed signs come first."""
    for part in parts:
        if draws is None:
            flip = np.arange(part.start, part.stop)[:, None] >> np.arange(k) & 1 == 1
        else:
            flip = draws.random((part.stop - part.start, k)) < 0.5
            flip[0] &= part.start > 0
        yield np.where(flip, -1.0, 1.0)


def _orders(
    labels: IntArray, parts: list[slice], draws: np.random.Generator | None
) -> Iterator[IntArray]:
    """Orders in which the studies meet the sorted rows of the design, shape (part, k).

    Giving study i the row with label l is the same fit as listing the studies
    in the order of their labels against the sorted rows, which leaves one
    design for all arrangements.
    """
    if draws is None:
        everything = _distinct_orders(labels)
        for part in parts:
            yield np.argsort(everything[part], axis=1, kind="stable")
        return
    for part in parts:
        shuffle = np.argsort(draws.random((part.stop - part.start, labels.size)), axis=1)
        if part.start == 0:
            shuffle[0] = np.arange(labels.size)
        yield np.argsort(labels[shuffle], axis=1, kind="stable")


def _count_orders(labels: IntArray) -> int:
    return factorial(labels.size) // prod(factorial(int(n)) for n in np.bincount(labels))


def _distinct_orders(labels: IntArray) -> NDArray[np.int16]:
    """All different sequences with these labels: every prefix is extended by what is left."""
    left = np.bincount(labels).astype(np.int16)[None, :]
    sequences = np.empty((1, 0), dtype=np.int16)
    for _ in range(labels.size):
        prefix, label = np.nonzero(left)
        sequences = np.column_stack([sequences[prefix], label.astype(np.int16)])
        left = left[prefix]
        left[np.arange(label.size), label] -= 1
    return sequences
