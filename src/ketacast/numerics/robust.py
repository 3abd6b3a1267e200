"""Cluster-robust covariance of weighted fits.

Estimates in one cluster may depend on each other in an unknown way; only the
clusters are taken to be independent. The fit's marginal covariance serves as
working model, both for the weights and for the small-sample corrections.

References
----------
Hedges, Tipton & Johnson 2010, Res Synth Methods 1:39; Tipton & Pustejovsky 2015,
J Educ Behav Stat 40:604 (the F test); Pustejovsky & Tipton 2018, J Bus Econ Stat
36:672 (CR2 and its degrees of freedom).
"""

from __future__ import annotations

import numpy as np

from ketacast.arrays import FloatArray, frozen, real_array
from ketacast.errors import InputError
from ketacast.numerics.inference import check_level
from ketacast.numerics.linalg import Basis, design_basis
from ketacast.numerics.mixed.inputs import Groups, read_groups, read_sampling
from ketacast.numerics.robust_fit import ROBUST_KINDS, RobustFit, RobustKind, degrees_of_freedom
from ketacast.numerics.robust_parts import DECIDED, ROUNDING, ClusterParts
from ketacast.options import check_choice


def robust_covariance(
    y: object,
    X: object,
    covariance: object,
    cluster: object,
    *,
    kind: RobustKind = "CR2",
    level: float = 0.95,
) -> RobustFit:
    """Weighted least squares with a cluster-robust covariance.

    Parameters
    ----------
    y : array_like, shape (k,)
        Effects.
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included.
    covariance : array_like, shape (k,) or (k, k)
        Working covariance of the effects, heterogeneity included: ``v + tau2`` of a
        normal fit, or the marginal covariance of a multilevel or multivariate one;
        0 between clusters. With the weights of a fit, the coefficients are the fit's.
    cluster : sequence, length k
        Label of the cluster of each row.
    kind : {"CR0", "CR1", "CR2"}
        No correction; the factor n / (n - p) for n clusters; or unbiased where the
        working covariance holds, with Satterthwaite degrees of freedom.
    level : float
        Coverage of the confidence intervals, 0 to 1.

    Returns
    -------
    RobustFit

    Raises
    ------
    InputError
        For unusable values, covariance between clusters, no more clusters than
        coefficients, a coefficient that one cluster alone decides, or effects without
        residual spread.
    """
    check_choice("kind", kind, ROBUST_KINDS)
    level = check_level(level)
    effects = real_array("y", y, ndim=1)
    clusters = read_groups("cluster", cluster, effects.size)
    basis = design_basis(X, effects.size)
    n, p = len(clusters.labels), basis.columns.shape[1]
    if n <= p:
        raise InputError(
            f"cluster has {n} label(s) for {p} coefficient(s); a robust covariance needs more "
            "clusters than coefficients: drop moderators or use the model's own standard errors"
        )
    factors = _factors(read_sampling("covariance", covariance, clusters), clusters)
    parts = _cluster_parts(effects, basis, factors, clusters, kind)
    units, _ = parts.directions(np.eye(p))
    _refuse_unknown(parts, units)
    carried = parts.scores @ parts.carry.T
    return RobustFit(
        beta=frozen(parts.carry @ parts.coordinates),
        cov=frozen(carried.T @ carried),
        df=frozen(degrees_of_freedom(kind, parts, units)),
        kind=kind,
        n_clusters=n,
        k=effects.size,
        p=p,
        intercept=basis.intercept,
        level=level,
        parts=parts,
    )


def _cluster_parts(
    y: FloatArray,
    basis: Basis,
    factors: list[FloatArray],
    clusters: Groups,
    kind: RobustKind,
) -> ClusterParts:
    """Split the fit into what each cluster contributes."""
    q, carry, whitened = _whitened_design(y, basis, factors, clusters)
    coordinates = q.T @ whitened
    residual = whitened - q @ coordinates
    n, p = len(clusters.labels), carry.shape[0]
    scores, own, shared = np.zeros((n, p)), np.zeros((n, p, p)), np.zeros((n, p, p))
    for c, (rows, factor) in enumerate(zip(clusters.members, factors, strict=True)):
        weights = _adjusted(factor, q[rows]) if kind == "CR2" else q[rows]
        scores[c] = residual[rows] @ weights
        own[c], shared[c] = weights.T @ weights, q[rows].T @ weights
    correction = n / (n - p) if kind == "CR1" else 1.0
    root = np.sqrt(correction)
    return ClusterParts(
        carry=frozen(carry),
        coordinates=frozen(coordinates),
        scores=frozen(root * scores),
        own=frozen(correction * own),
        shared=frozen(root * shared),
        rounding=ROUNDING * float(np.linalg.norm(whitened)),
    )


def _factors(working: FloatArray, clusters: Groups) -> list[FloatArray]:
    """Lower Cholesky factors of the working covariance of each cluster."""
    if working.ndim == 1:
        return [np.diag(np.sqrt(working[rows])) for rows in clusters.members]
    blocks = [working[np.ix_(rows, rows)] for rows in clusters.members]
    return [np.asarray(np.linalg.cholesky(block), dtype=np.float64) for block in blocks]


def _whitened_design(
    y: FloatArray, basis: Basis, factors: list[FloatArray], clusters: Groups
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Orthonormal whitened design, the map from its coordinates to coefficients, whitened y."""
    columns = np.column_stack([basis.columns, y])
    for rows, factor in zip(clusters.members, factors, strict=True):
        columns[rows] = np.linalg.solve(factor, columns[rows])
    q, r = np.linalg.qr(columns[:, :-1])
    return q, basis.back @ np.linalg.solve(r, np.eye(r.shape[0])), columns[:, -1]


def _adjusted(factor: FloatArray, q: FloatArray) -> FloatArray:
    """Transposed CR2 adjustment times q, for whitened rows of one cluster.

    With the Cholesky factor L of the working covariance and D = L', the adjustment
    ``D' B^(-1/2) D``, ``B = D (Phi - X cov X') D'``, becomes ``B^(-1/2) L'L`` after
    whitening. B is singular in as many directions as the cluster alone decides;
    those are left out of its root (Moore-Penrose).
    """
    inner = factor.T @ factor
    kept = np.eye(q.shape[0]) - q @ q.T
    decided = int(np.sum(np.linalg.eigvalsh(kept) < DECIDED))
    values, vectors = np.linalg.eigh(inner @ kept @ inner)
    values, vectors = values[decided:], vectors[:, decided:]
    root = (vectors / np.sqrt(values)) @ vectors.T
    return np.asarray(inner @ root @ q)


def _refuse_unknown(parts: ClusterParts, units: FloatArray) -> None:
    """Refuse coefficients whose robust variance is 0, by the design or by the data."""
    share = parts.expected_share(units)
    if (share <= DECIDED).any():
        column = int(np.argmin(share))
        raise InputError(
            f"the coefficient of X[:, {column}] is decided by a single cluster, so that nothing "
            "shows its variation between clusters; drop that moderator or use the model's own "
            "standard errors"
        )
    spread = parts.spread(units)
    if (spread <= parts.rounding).any():
        column = int(np.argmin(spread))
        raise InputError(
            f"the effects that decide the coefficient of X[:, {column}] lie on the fitted line, "
            "so that its robust standard error is 0; use the model's own standard errors"
        )
