"""How much each study, or each cluster of studies, moves a meta-regression.

All measures compare the fit of all studies with the fit without one case, tau2
estimated anew. They do not depend on how moderators are coded, so everything
but DFBETAS is computed on an orthonormal basis of the design.

References
----------
Viechtbauer & Cheung 2010, Res Synth Methods 1:112; Belsley, Kuh & Welsch 1980,
Regression Diagnostics; Cook & Weisberg 1982, Residuals and Influence in
Regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ketacast.arrays import BoolArray, FloatArray, frozen
from ketacast.numerics.comparison import refuse_without_spread
from ketacast.numerics.diagnostics.casewise import (
    Studies,
    as_studies,
    chunks,
    deletions,
    frozen_flags,
    whitened_basis,
)
from ketacast.numerics.diagnostics.studies import residuals
from ketacast.numerics.labels import Label
from ketacast.numerics.linalg import Basis, design_basis
from ketacast.numerics.normal import NormalFit, NormalTest, Tau2Method, fit_normal, fit_normal_batch
from ketacast.numerics.records import PlainRecord


@dataclass(frozen=True, slots=True)
class Influence(PlainRecord):
    """Influence of each study, all arrays over the k studies.

    Where the other studies cannot be fitted, everything that needs that fit is
    NaN. Where they lie on their line but for rounding, Knapp-Hartung has no scale
    without the study, and `rstudent`, `deleted_se`, `dffits`, `dfbetas` and `cov_r`
    are NaN.

    Attributes
    ----------
    rstudent : ndarray, shape (k,)
        Externally standardised residuals: `deleted_residual` / `deleted_se`.
    deleted_residual, deleted_se : ndarray, shape (k,)
        Distance from the line fitted without the study, and its standard error
        ``sqrt(f (v + tau2) + x'Cx)`` with that fit's tau2, covariance C and
        Knapp-Hartung factor f (1 where the test has none).
    rstandard : ndarray, shape (k,)
        Internally standardised residuals.
    dffits : ndarray, shape (k,)
        Standard errors by which the study's own fitted value moves.
    cook_d : ndarray, shape (k,)
        Cook's distance: squared Mahalanobis distance between both sets of
        coefficients, by the covariance of the full fit.
    cov_r : ndarray, shape (k,)
        Determinant of the coefficients' covariance without the study over that
        with it; below 1, the fit is more precise without.
    tau2_del, qe_del : ndarray, shape (k,)
        Between-study variance and residual Q without the study.
    hat : ndarray, shape (k,)
        Leverages, 0 to 1.
    weight : ndarray, shape (k,)
        Share of the weights ``1 / (v + tau2)``, percent.
    dfbetas : ndarray, shape (k, p)
        Standard errors by which each coefficient moves.
    is_influential : ndarray of bool, shape (k,)
        True where ``|dffits| > 3 sqrt(p / (k - p))``, or Cook's distance lies
        beyond the median of chi-square with p degrees of freedom, or
        ``hat > 3 p / k``, or any ``|dfbetas| > 1`` (rules of thumb; a NaN
        counts as not exceeded).
    solvable : ndarray of bool, shape (k,)
        False where the other studies cannot be fitted.
    """

    rstudent: FloatArray
    deleted_residual: FloatArray
    deleted_se: FloatArray
    rstandard: FloatArray
    dffits: FloatArray
    cook_d: FloatArray
    cov_r: FloatArray
    tau2_del: FloatArray
    qe_del: FloatArray
    hat: FloatArray
    weight: FloatArray
    dfbetas: FloatArray
    is_influential: BoolArray
    solvable: BoolArray


@dataclass(frozen=True, slots=True)
class ClusterInfluence(PlainRecord):
    """Influence of each of m clusters of studies.

    Attributes
    ----------
    labels : tuple, length m
        Clusters in order of first appearance.
    n_studies : ndarray, shape (m,)
        Studies in each cluster.
    cook_d, cov_r, tau2_del, qe_del : ndarray, shape (m,)
        As in :class:`Influence`, the whole cluster left out.
    dfbetas : ndarray, shape (m, p)
        As in :class:`Influence`.
    solvable : ndarray of bool, shape (m,)
        False where the other clusters cannot be fitted; NaN there.
    """

    labels: tuple[Label, ...]
    n_studies: FloatArray
    cook_d: FloatArray
    cov_r: FloatArray
    tau2_del: FloatArray
    qe_del: FloatArray
    dfbetas: FloatArray
    solvable: BoolArray


def influence(
    y: object,
    v: object,
    X: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    chunk_size: int | None = None,
) -> Influence:
    """Influence of each study on a meta-regression.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included.
    method, test
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`.
    chunk_size : int, optional
        Fits at a time; it bounds memory and changes no more than the last digits
        (1e-14).

    Raises
    ------
    InputError
        For unusable data, where even all studies together cannot be fitted, and for a
        Knapp-Hartung test of effects without residual spread.
    """
    data, basis, full = _full_fit(y, v, X, method, test)
    _, include = deletions(None, data.k)
    gone = _without(data, basis, full, include, chunk_size)
    own = residuals(full, data.y, data.v, basis.columns)
    weights = 1.0 / (data.v + full.tau2)
    deleted_total = gone.factor * (data.v + gone.tau2)
    line = np.einsum("ki,kij,kj->k", basis.columns, gone.cov, basis.columns)
    deleted_residual = data.y - np.sum(basis.columns * gone.gamma, axis=1)
    deleted_se = np.sqrt(deleted_total + line)
    moved = np.sum(basis.columns * (full.beta - gone.gamma), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rstudent = deleted_residual / deleted_se
        dffits = moved / np.sqrt(own.leverage * deleted_total)
    # A study with all-zero moderators and no intercept pulls at nothing.
    dffits = np.where(own.leverage == 0.0, 0.0, dffits)
    return Influence(
        rstudent=frozen(rstudent),
        deleted_residual=frozen(deleted_residual),
        deleted_se=frozen(deleted_se),
        rstandard=own.standardised,
        dffits=frozen(dffits),
        cook_d=frozen(gone.cook_d),
        cov_r=frozen(gone.cov_r),
        tau2_del=frozen(gone.tau2),
        qe_del=frozen(gone.qe),
        hat=own.leverage,
        weight=frozen(100.0 * weights / weights.sum()),
        dfbetas=frozen(gone.dfbetas),
        is_influential=frozen_flags(_beyond(dffits, gone, own.leverage)),
        solvable=frozen_flags(gone.solvable),
    )


def cluster_influence(
    y: object,
    v: object,
    X: object,
    groups: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    chunk_size: int | None = None,
) -> ClusterInfluence:
    """Influence of each cluster of studies on a meta-regression.

    Parameters
    ----------
    y, v, X, method, test, chunk_size
        As for :func:`influence`.
    groups : array_like, shape (k,)
        Cluster labels (numbers or texts), at least two different ones.

    Raises
    ------
    InputError
        As for :func:`influence`, and for unusable labels.
    """
    data, basis, full = _full_fit(y, v, X, method, test)
    labels, include = deletions(groups, data.k)
    gone = _without(data, basis, full, include, chunk_size)
    return ClusterInfluence(
        labels=labels,
        n_studies=frozen((~include).sum(axis=1).astype(np.float64)),
        cook_d=frozen(gone.cook_d),
        cov_r=frozen(gone.cov_r),
        tau2_del=frozen(gone.tau2),
        qe_del=frozen(gone.qe),
        dfbetas=frozen(gone.dfbetas),
        solvable=frozen_flags(gone.solvable),
    )


def hat_matrix(fit: NormalFit, v: object, X: object) -> FloatArray:
    """Matrix that turns effects into fitted values, ``X (X'WX)^-1 X'W``, shape (k, k).

    Parameters
    ----------
    fit : NormalFit
        The fit whose tau2 is used.
    v, X
        Sampling variances and design it was made from.

    Raises
    ------
    InputError
        For unusable variances or designs.
    """
    data = as_studies(v, v, X)
    root = np.sqrt(data.v + fit.tau2)
    q = whitened_basis(design_basis(data.X, data.k).columns, root**2)
    return frozen((q @ q.T) * root[:, None] / root)


@dataclass(frozen=True, slots=True)
class _Without:
    """Fits without each case, coefficients gamma on the basis."""

    gamma: FloatArray
    cov: FloatArray
    tau2: FloatArray
    qe: FloatArray
    factor: FloatArray
    cook_d: FloatArray
    cov_r: FloatArray
    dfbetas: FloatArray
    solvable: BoolArray


def _full_fit(
    y: object, v: object, X: object, method: Tau2Method, test: NormalTest
) -> tuple[Studies, Basis, NormalFit]:
    data = as_studies(y, v, X)
    basis = design_basis(data.X, data.k)
    fit = fit_normal(data.y, data.v, basis.columns, method=method, test=test)
    refuse_without_spread(fit)
    return data, basis, fit


def _without(
    data: Studies, basis: Basis, full: NormalFit, include: BoolArray, chunk_size: int | None
) -> _Without:
    fits, spread = [], []
    for part in chunks(len(include), k=data.k, p=data.p, chunk_size=chunk_size):
        batch = fit_normal_batch(
            data.y,
            data.v,
            basis.columns,
            include=include[part],
            method=full.method,
            test=full.test,
        )
        fits.append(batch)
        spread.append(_coefficient_variances(data.v, basis, batch.tau2))

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(batch, name) for batch in fits])

    gamma, cov, factor = joined("beta"), joined("cov"), joined("variance_factor")
    moved = full.beta - gamma
    with np.errstate(divide="ignore", invalid="ignore"):
        dfbetas = moved @ basis.back.T / np.sqrt(factor[:, None] * np.concatenate(spread))
        log_ratio = np.linalg.slogdet(cov)[1] - np.linalg.slogdet(full.cov)[1]
    return _Without(
        gamma=gamma,
        cov=cov,
        tau2=joined("tau2"),
        qe=joined("qe"),
        factor=factor,
        cook_d=np.sum(moved * np.linalg.solve(full.cov, moved.T).T, axis=1),
        cov_r=np.exp(log_ratio),
        dfbetas=dfbetas,
        solvable=np.concatenate([batch.solvable for batch in fits]),
    )


def _beyond(dffits: FloatArray, gone: _Without, leverage: FloatArray) -> BoolArray:
    """Rules of thumb of :attr:`Influence.is_influential`."""
    k, p = gone.dfbetas.shape
    moved = np.abs(dffits) > 3.0 * np.sqrt(p / (k - p))
    far = special.chdtr(p, gone.cook_d) > 0.5
    coefficient = np.any(np.abs(gone.dfbetas) > 1.0, axis=1)
    return np.asarray(moved | far | coefficient | (leverage > 3.0 * p / k), dtype=np.bool_)


def _coefficient_variances(v: FloatArray, basis: Basis, tau2: FloatArray) -> FloatArray:
    """Variances of the coefficients from ALL studies at each deleted fit's tau2, (m, p)."""
    variances = np.full((tau2.size, basis.back.shape[0]), np.nan)
    for i in np.flatnonzero(np.isfinite(tau2)):
        triangle = np.linalg.qr(basis.columns / np.sqrt(v + tau2[i])[:, None])[1]
        carry = np.linalg.solve(triangle.T, basis.back.T).T
        variances[i] = np.sum(carry**2, axis=1)
    return variances
