"""Fit problems with whichever evaluation keeps enough digits."""

from __future__ import annotations

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.kernel import Kernel
from ketacast.numerics.moments import moment_kernel
from ketacast.numerics.problem import IntArray, Problem
from ketacast.numerics.tau2 import Tau2Method, estimate_tau2, tau2_standard_error
from ketacast.numerics.whitened import WhitenedKernel, full_rank


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
        found.append((rest, WhitenedKernel(problem.rows(rest))))
    return found


def solve(problem: Problem, method: Tau2Method) -> dict[str, FloatArray]:
    """Fit every problem that can be fitted; NaN elsewhere."""
    parts = kernels(problem, least_df=0 if method == "EE" else 1)
    if len(parts) == 1 and parts[0][0].size == problem.count:
        return _solve_part(parts[0][1], method)
    count, p = problem.count, problem.p
    shapes = {"gamma": (p,), "inverse": (p, p)}
    names = (
        "q",
        "tau2",
        "tau2_se",
        "qe",
        "typical_variance",
        "log_likelihood_ml",
        "log_likelihood_reml",
    )
    solved = {name: np.full((count, *shapes.get(name, ())), np.nan) for name in (*shapes, *names)}
    for index, kernel in parts:
        for name, values in _solve_part(kernel, method).items():
            solved[name][index] = values
    return solved


def _solve_part(kernel: Kernel, method: Tau2Method) -> dict[str, FloatArray]:
    problem = kernel.problem
    tau2 = estimate_tau2(kernel, method)
    # With a sampling variance of 0 nothing is defined at tau2 = 0.
    positive = problem.least_variance > 0.0
    found = (tau2 > 0.0) | (positive & (tau2 == 0.0))
    inside = np.where(found, tau2, 1.0)
    zero = np.where(positive, 0.0, inside)
    at, solution = kernel.scores_and_solution(np.stack([zero, inside], axis=1))
    df = problem.residual_df
    trace = at.trace_p[:, 0]
    qe = np.where(df > 0, at.q[:, 0], 0.0)
    typical = np.where(df > 0, df, np.nan) / np.where(df > 0, trace, 1.0)
    gram = _log_gram(problem)
    solved = {
        "gamma": solution.gamma,
        "inverse": solution.inverse,
        "q": solution.q,
        "tau2": tau2,
        "tau2_se": tau2_standard_error(problem, inside, method, at),
        "qe": np.where(positive, qe, np.nan),
        "typical_variance": np.where(positive, typical, np.nan),
        "log_likelihood_ml": solution.log_likelihood(problem, restricted=False),
        "log_likelihood_reml": solution.log_likelihood(problem, restricted=True) + gram,
    }
    if not found.all():
        for values in solved.values():
            values[~found] = np.nan
    return solved


def _log_gram(problem: Problem) -> FloatArray | float:
    """Half the log of det X'X in the basis: 0 unless rows were chosen from it."""
    if problem.include is None and len(problem.basis) == 1:
        return 0.0
    basis = problem.masked_basis()
    gram = np.swapaxes(basis, -1, -2) @ basis
    return np.asarray(0.5 * np.linalg.slogdet(gram)[1], dtype=np.float64)
