"""What each cluster contributes to a cluster-robust covariance.

Everything is in coordinates whose covariance is I under the working model, so that
shares of the model's variance are eigenvalues and units of moderators do no harm.

References
----------
Tipton & Pustejovsky 2015, J Educ Behav Stat 40:604 (the joint test); Pustejovsky &
Tipton 2018, J Bus Econ Stat 36:672 (degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray

#: Share of its variance that a direction keeps after the fit, below which the cluster
#: alone decides it and its residual is 0 but for rounding.
DECIDED: Final = 1e-10
#: Residuals this much smaller than the effects are rounding.
ROUNDING: Final = 1e-13


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """A fit in coordinates whose covariance is I under the working model.

    Attributes
    ----------
    carry : ndarray, shape (p, p)
        Coefficients are ``carry @ coordinates``.
    coordinates : ndarray, shape (p,)
        Estimates.
    scores : ndarray, shape (n_clusters, p)
        Contributions of the clusters to the coordinates' errors; ``scores' scores`` is
        their robust covariance.
    own : ndarray, shape (n_clusters, p, p)
        Covariance of each cluster's contribution, had nothing been estimated.
    shared : ndarray, shape (n_clusters, p, p)
        Factors of what estimation takes away: the contributions of clusters c and d
        have covariance ``[c = d] own[c] - shared[c]' shared[d]``.
    rounding : float
        Spread of a coordinate that is 0 but for rounding.
    """

    carry: FloatArray
    coordinates: FloatArray
    scores: FloatArray
    own: FloatArray
    shared: FloatArray
    rounding: float

    @property
    def expected(self) -> FloatArray:
        """Expected robust covariance of the coordinates under the working model, (p, p)."""
        return np.asarray(self.own.sum(axis=0) - np.einsum("cki,ckj->ij", self.shared, self.shared))

    def directions(self, contrasts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Turn contrasts (m, p) into unit vectors of the coordinates and lengths (m,).

        A row of zeros stays one, with length 0.
        """
        rows = contrasts @ self.carry
        size = np.linalg.norm(rows, axis=1)
        return rows / np.where(size > 0.0, size, 1.0)[:, None], size

    def expected_share(self, units: FloatArray) -> FloatArray:
        """Return expected robust variances over the model's of unit vectors (m, p)."""
        return np.asarray(np.einsum("mi,ij,mj->m", units, self.expected, units))

    def spread(self, units: FloatArray) -> FloatArray:
        """Robust standard errors of unit vectors (m, p), shape (m,)."""
        return np.asarray(np.linalg.norm(self.scores @ units.T, axis=0))

    def satterthwaite(self, units: FloatArray) -> FloatArray:
        """Degrees of freedom ``2 E^2 / Var`` of the robust variances of unit vectors, (m,)."""
        df = np.empty(len(units))
        for row, unit in enumerate(units):
            omega = self.cross_covariance(unit, unit)
            df[row] = np.trace(omega) ** 2 / np.sum(omega**2)
        return df

    def cross_covariance(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Covariance under the working model of two vectors' cluster contributions, (n, n)."""
        result = -(self.shared @ first) @ (self.shared @ second).T
        result[np.diag_indices_from(result)] += np.einsum("i,cij,j->c", first, self.own, second)
        return np.asarray(result)

    def joint(self, basis: FloatArray) -> tuple[float, float] | None:
        """Wald statistic of an orthonormal basis (p, q), and its degrees of freedom eta.

        With eta the distribution of the robust covariance is approximated by a Wishart
        of the same total variance under the working model (HTZ); q eta / (eta - q + 1)
        times F(q, eta - q + 1) is then that of the statistic. None where some combination
        is expected to vary by nothing, or does.
        """
        values, vectors = np.linalg.eigh(basis.T @ self.expected @ basis)
        contributions = self.scores @ basis
        least = float(np.linalg.svd(contributions, compute_uv=False)[-1])
        if values[0] <= DECIDED or least <= self.rounding:
            return None
        triangle = np.asarray(np.linalg.qr(contributions, mode="r"), dtype=np.float64)
        z = np.linalg.solve(triangle.T, basis.T @ self.coordinates)
        return float(z @ z), self._hotelling_df((vectors / np.sqrt(values)).T @ basis.T)

    def _hotelling_df(self, contrasts: FloatArray) -> float:
        """Find eta for vectors (q, p) whose expected robust covariance is I."""
        q, total = len(contrasts), 0.0
        for s in contrasts:
            of_s = self.cross_covariance(s, s)
            for t in contrasts:
                of_t, both = self.cross_covariance(t, t), self.cross_covariance(s, t)
                total += float(np.sum(of_s * of_t) + np.sum(both * both.T))
        return float(q * (q + 1) / total)
