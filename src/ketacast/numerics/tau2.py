"""Between-study variance of the normal-normal model, many problems at once.

Model of problem b: ``y ~ N(X beta, diag(v) + tau2 I)``. Everything an
estimator needs at a given tau2 comes from one weighted QR of the design
(:func:`profile`, O(k p^2), no k x k matrix). With ``W = diag(1 / (v + tau2))``
and ``P = W - W X (X'WX)^-1 X'W``:

* ``q = y'Py``, ``ypp = y'PPy = -dq/dtau2``, ``yppp = y'PPPy``;
* REML score ``(ypp - tr P) / 2``, ML score ``(ypp - sum w) / 2``.

References
----------
DerSimonian & Laird 1986, Control Clin Trials 7:177; Paule & Mandel 1982, J
Res Natl Bur Stand 87:377; Viechtbauer 2005, J Educ Behav Stat 30:261;
Viechtbauer 2007, Stat Med 26:37 (Q-profile interval).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.numerics.roots import falling_root

Tau2Method = Literal["REML", "ML", "DL", "PM", "EE"]
TAU2_METHODS: Final[tuple[Tau2Method, ...]] = get_args(Tau2Method)

#: Points of the coarse scan for likelihood modes. Neighbours differ by a
#: factor below 2.5 even when variances span 10 orders; a mode narrower than
#: that in log tau2 has not been seen.
SCAN_POINTS: Final = 32
#: Below this share of the smallest variance tau2 does not move the likelihood.
SCAN_FLOOR: Final = 1e-3

_LOG_2PI: Final = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Problem:
    """B meta-regressions on one design.

    Attributes
    ----------
    y, v : ndarray, shape (B, k)
        Effects and sampling variances (> 0).
    basis : ndarray, shape (k, p)
        Orthonormal columns of the design.
    """

    y: FloatArray
    v: FloatArray
    basis: FloatArray

    @property
    def residual_df(self) -> int:
        """Studies minus coefficients."""
        return int(self.basis.shape[0] - self.basis.shape[1])

    def rows(self, index: NDArray[np.intp]) -> Problem:
        """Problems chosen (and repeated) by index."""
        return Problem(self.y[index], self.v[index], self.basis)


@dataclass(frozen=True, slots=True)
class Profile:
    """Whitened quantities of B problems at given tau2.

    Attributes
    ----------
    weights : ndarray, shape (B, k)
        ``1 / (v + tau2)``.
    q_basis : ndarray, shape (B, k, p)
        Orthonormal columns of the whitened design.
    triangle : ndarray, shape (B, p, p)
        Upper triangle: whitened basis = q_basis @ triangle.
    fitted : ndarray, shape (B, p)
        ``q_basis' (whitened y)``.
    residual : ndarray, shape (B, k)
        Whitened residuals.
    """

    weights: FloatArray
    q_basis: FloatArray
    triangle: FloatArray
    fitted: FloatArray
    residual: FloatArray

    @property
    def leverage(self) -> FloatArray:
        """Diagonal of the hat matrix, shape (B, k)."""
        return np.asarray(np.sum(self.q_basis**2, axis=-1), dtype=np.float64)

    @property
    def q(self) -> FloatArray:
        """Weighted residual sum of squares y'Py, shape (B,)."""
        return np.asarray(np.sum(self.residual**2, axis=-1), dtype=np.float64)

    @property
    def ypp(self) -> FloatArray:
        """y'PPy, shape (B,)."""
        return np.asarray(np.sum(self.weights * self.residual**2, axis=-1), dtype=np.float64)

    @property
    def yppp(self) -> FloatArray:
        """y'PPPy, shape (B,)."""
        pull = self.weights * self.residual
        along = np.einsum("bk,bkp->bp", pull, self.q_basis)
        total: FloatArray = np.sum(pull**2, axis=-1) - np.sum(along**2, axis=-1)
        return total

    @property
    def trace_p(self) -> FloatArray:
        """Trace of P, shape (B,)."""
        return np.asarray(np.sum(self.weights * (1.0 - self.leverage), axis=-1), dtype=np.float64)

    @property
    def trace_pp(self) -> FloatArray:
        """Trace of PP, shape (B,)."""
        inner = np.einsum("bki,bk,bkj->bij", self.q_basis, self.weights, self.q_basis)
        plain = np.sum(self.weights**2 * (1.0 - 2.0 * self.leverage), axis=-1)
        total: FloatArray = plain + np.sum(inner**2, axis=(-2, -1))
        return total

    def log_likelihood(self, *, restricted: bool) -> FloatArray:
        """Profile log-likelihood, shape (B,).

        The restricted one includes ``log|X'X| / 2``, so that it does not
        depend on how the moderators are coded.
        """
        k, p = self.q_basis.shape[-2:]
        base: FloatArray = 0.5 * np.sum(np.log(self.weights), axis=-1) - 0.5 * self.q
        if not restricted:
            return np.asarray(base - 0.5 * k * _LOG_2PI, dtype=np.float64)
        diagonal = np.abs(np.diagonal(self.triangle, axis1=-2, axis2=-1))
        log_det: FloatArray = np.sum(np.log(diagonal), axis=-1)
        return np.asarray(base - log_det - 0.5 * (k - p) * _LOG_2PI, dtype=np.float64)


def profile(problem: Problem, tau2: FloatArray) -> Profile:
    """Evaluate B problems at tau2, shape (B,)."""
    weights = 1.0 / (problem.v + tau2[:, None])
    root = np.sqrt(weights)
    q_basis, triangle = np.linalg.qr(root[:, :, None] * problem.basis)
    whitened = root * problem.y
    fitted = np.einsum("bk,bkp->bp", whitened, q_basis)
    residual = whitened - np.einsum("bkp,bp->bk", q_basis, fitted)
    return Profile(weights, q_basis, triangle, fitted, residual)


def estimate_tau2(problem: Problem, method: Tau2Method) -> FloatArray:
    """Estimate tau2 of each problem, shape (B,), >= 0."""
    return _ESTIMATORS[method](problem)


def tau2_standard_error(problem: Problem, tau2: FloatArray, method: Tau2Method) -> FloatArray:
    """Large-sample standard error of tau2, shape (B,); NaN for EE, where tau2 is not estimated."""
    if method == "EE":
        return np.full_like(tau2, np.nan)
    df = problem.residual_df
    if method == "DL":
        at = profile(problem, np.zeros_like(tau2))
        spread = 2.0 * df + 4.0 * tau2 * at.trace_p + 2.0 * tau2**2 * at.trace_pp
        return np.asarray(np.sqrt(spread) / at.trace_p, dtype=np.float64)
    at = profile(problem, tau2)
    if method == "REML":
        return np.asarray(np.sqrt(2.0 / at.trace_pp), dtype=np.float64)
    if method == "ML":
        return np.asarray(np.sqrt(2.0 / np.sum(at.weights**2, axis=-1)), dtype=np.float64)
    k = problem.y.shape[1]
    return np.asarray(np.sqrt(2.0 * k**2 / df) / np.sum(at.weights, axis=-1), dtype=np.float64)


def solve_q(problem: Problem, target: float) -> FloatArray:
    """Solve ``y'P(tau2)y = target`` for tau2 >= 0; 0 where the value at 0 is already below.

    The left side is convex and falls in tau2, so Newton from 0 climbs to the
    root without overshooting.
    """
    zero = np.zeros(problem.y.shape[0])
    excess = profile(problem, zero).q > target
    root = zero.copy()
    if not excess.any():
        return root
    part = problem.rows(np.flatnonzero(excess))
    # q <= (unweighted residual sum of squares) / (tau2 + smallest variance).
    upper = _residual_squares(part) / target - part.v.min(axis=1)

    def value_and_slope(tau2: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = profile(part, tau2)
        return at.q - target, -at.ypp

    start = np.zeros(part.y.shape[0])
    root[excess] = falling_root(
        value_and_slope, start, np.maximum(upper, 0.0), start, part.v.min(axis=1)
    )
    return root


def _equal_effects(problem: Problem) -> FloatArray:
    return np.zeros(problem.y.shape[0])


def _dersimonian_laird(problem: Problem) -> FloatArray:
    at = profile(problem, np.zeros(problem.y.shape[0]))
    return np.maximum(0.0, (at.q - problem.residual_df) / at.trace_p)


def _paule_mandel(problem: Problem) -> FloatArray:
    return solve_q(problem, float(problem.residual_df))


def _restricted_likelihood(problem: Problem) -> FloatArray:
    return _maximise(problem, restricted=True)


def _maximum_likelihood(problem: Problem) -> FloatArray:
    return _maximise(problem, restricted=False)


def _maximise(problem: Problem, *, restricted: bool) -> FloatArray:
    """Global maximum of the profile likelihood: scan, polish every mode, keep the best."""
    grid = _scan_grid(problem)
    count, points = grid.shape
    owner = np.repeat(np.arange(count), points)
    scan = profile(problem.rows(owner), grid.ravel())
    score = _score(scan, restricted=restricted).reshape(grid.shape)
    best = np.zeros(count)
    best_value = scan.log_likelihood(restricted=restricted).reshape(grid.shape)[:, 0]
    # The last point lies beyond every stationary point, so no mode is missed above.
    which, left = np.nonzero((score[:, :-1] > 0.0) & (score[:, 1:] <= 0.0))
    if which.size == 0:
        return best
    part = problem.rows(which)

    def score_and_slope(tau2: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = profile(part, tau2)
        traces = at.trace_pp if restricted else np.sum(at.weights**2, axis=-1)
        return _score(at, restricted=restricted), 0.5 * traces - at.yppp

    lower, upper = grid[which, left], grid[which, left + 1]
    modes = falling_root(score_and_slope, lower, upper, 0.5 * (lower + upper), part.v.min(axis=1))
    values = profile(part, modes).log_likelihood(restricted=restricted)
    for i in np.argsort(values):
        if values[i] > best_value[which[i]]:
            best[which[i]], best_value[which[i]] = modes[i], values[i]
    return best


def _score(at: Profile, *, restricted: bool) -> FloatArray:
    traces = at.trace_p if restricted else np.sum(at.weights, axis=-1)
    return np.asarray(0.5 * (at.ypp - traces), dtype=np.float64)


def _scan_grid(problem: Problem) -> FloatArray:
    """Return 0 and a geometric sequence up to where the score must be negative.

    With K an orthonormal complement of the design, ``P = K (K'VK)^-1 K'``, so
    ``y'PPy <= rss / (t + min v)^2`` and ``tr P >= df / (t + max v)``: the
    score is negative above the larger root of
    ``(t + min v)^2 = (rss / df) (t + max v)``. The ML trace is larger still.
    """
    low, high = problem.v.min(axis=1), problem.v.max(axis=1)
    ratio = _residual_squares(problem) / problem.residual_df
    half = 0.5 * ratio - low
    top = half + np.sqrt(np.maximum(0.0, half**2 + ratio * high - low**2))
    floor = SCAN_FLOOR * low
    # Doubled: with equal variances the REML root is exactly at `top`.
    top = np.maximum(2.0 * top, 2.0 * floor)
    steps = np.linspace(0.0, 1.0, SCAN_POINTS - 1)
    grid = floor[:, None] * (top / floor)[:, None] ** steps
    return np.concatenate([np.zeros((low.size, 1)), grid], axis=1)


def _residual_squares(problem: Problem) -> FloatArray:
    along = problem.y @ problem.basis
    residual = problem.y - along @ problem.basis.T
    return np.asarray(np.sum(residual**2, axis=1), dtype=np.float64)


_ESTIMATORS: Final[dict[Tau2Method, Callable[[Problem], FloatArray]]] = {
    "REML": _restricted_likelihood,
    "ML": _maximum_likelihood,
    "DL": _dersimonian_laird,
    "PM": _paule_mandel,
    "EE": _equal_effects,
}
