"""Fit problems with whichever evaluation keeps enough digits."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.normal.kernel import Kernel
from ketacast.numerics.normal.moments import moment_kernel
from ketacast.numerics.normal.problem import IntArray, Problem
from ketacast.numerics.normal.tau2 import Tau2Method, estimate_tau2, tau2_standard_error
from ketacast.numerics.normal.whitened import WhitenedKernel, full_rank


def kernels(problem: Problem, *, least_df: int = 1) -> list[tuple[IntArray, Kernel]]:
    """Choose how to evaluate each problem: fast where that keeps enough digits.

    Parameters
    ----------
    problem : Problem
        The problems.
    least_df : int
        Residual degrees of freedom that a problem must have.

    Returns
    -------
    list of (indices, Kernel)
        Problems whose rows do not determine their coefficients are in none.
    """
    fast = moment_kernel(problem)
    enough = problem.residual_df >= least_df
    quick = np.flatnonzero(fast.tame & enough)
    if quick.size == problem.count:
        return [(quick, fast)]
    found: list[tuple[IntArray, Kernel]] = []
    if quick.size:
        found.append((quick, fast.rows(quick)))
    rest = np.flatnonzero(~fast.tame & enough)
    if rest.size:
        rest = rest[full_rank(problem.rows(rest))]
    if rest.size:
        # Effects on the line without sampling error say nothing of any scale.
        part = problem.rows(rest)
        scaled = (part.least_variance > 0.0) | (WhitenedKernel(part).residual_squares > 0.0)
        rest = rest[scaled]
    if rest.size:
        found.append((rest, WhitenedKernel(problem.rows(rest))))
    return found


@dataclass(frozen=True, slots=True)
class Solved:
    """Fitted problems in their basis; arrays with the batch axis first, NaN where not fitted.

    Attributes
    ----------
    gamma, inverse : ndarray, shapes (B, p), (B, p, p)
        Coefficients and the inverse of X'WX.
    q : ndarray, shape (B,)
        Weighted residual sums of squares at the estimates.
    tau2, tau2_se, qe, typical_variance : ndarray, shape (B,)
        As in :class:`ketacast.numerics.normal.result.NormalFit`.
    log_likelihood_ml, log_likelihood_reml : ndarray, shape (B,)
        Likewise.
    """

    gamma: FloatArray
    inverse: FloatArray
    q: FloatArray
    tau2: FloatArray
    tau2_se: FloatArray
    qe: FloatArray
    typical_variance: FloatArray
    log_likelihood_ml: FloatArray
    log_likelihood_reml: FloatArray


def solve(problem: Problem, method: Tau2Method) -> Solved:
    """Fit every problem that can be fitted."""
    parts = kernels(problem, least_df=0 if method == "EE" else 1)
    if len(parts) == 1 and parts[0][0].size == problem.count:
        return _solve_part(parts[0][1], method)
    count, p = problem.count, problem.p
    shapes = {"gamma": (p,), "inverse": (p, p)}
    names = [one.name for one in fields(Solved)]
    whole = {name: np.full((count, *shapes.get(name, ())), np.nan) for name in names}
    for index, kernel in parts:
        part = _solve_part(kernel, method)
        for name in names:
            whole[name][index] = getattr(part, name)
    return Solved(**whole)


def _solve_part(kernel: Kernel, method: Tau2Method) -> Solved:
    problem = kernel.problem
    tau2 = estimate_tau2(kernel, method)
    # With a sampling variance of 0 nothing is defined at tau2 = 0.
    positive = problem.least_variance > 0.0
    found = (tau2 > 0.0) | (positive & (tau2 == 0.0))
    inside = np.where(found, tau2, 1.0)
    zero = np.where(positive, 0.0, inside)
    at, solution = kernel.scores_and_solution(np.stack([zero, inside], axis=1))
    df = problem.residual_df
    spare = df > 0
    typical = np.where(spare, df, np.nan) / np.where(spare, at.trace_p[:, 0], 1.0)
    restricted = solution.log_likelihood(problem, restricted=True) + _log_gram(problem)

    def where_found(values: FloatArray) -> FloatArray:
        if found.all():
            return values
        return np.where(found.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    return Solved(
        gamma=where_found(solution.gamma),
        inverse=where_found(solution.inverse),
        q=where_found(solution.q),
        tau2=where_found(tau2),
        tau2_se=where_found(tau2_standard_error(problem, inside, method, at)),
        qe=where_found(np.where(positive, np.where(spare, at.q[:, 0], 0.0), np.nan)),
        typical_variance=where_found(np.where(positive, typical, np.nan)),
        log_likelihood_ml=where_found(solution.log_likelihood(problem, restricted=False)),
        log_likelihood_reml=where_found(restricted),
    )


def _log_gram(problem: Problem) -> FloatArray | float:
    """Half the log of det X'X in the basis: 0 unless rows were chosen from it."""
    if problem.include is None and len(problem.basis) == 1:
        return 0.0
    basis = problem.masked_basis()
    gram = np.swapaxes(basis, -1, -2) @ basis
    return np.asarray(0.5 * np.linalg.slogdet(gram)[1], dtype=np.float64)
