"""Simulation-based calibration: whether the posterior's ranges are as wide as they claim.

Parameters are drawn from the prior, counts (and the contrasts) from the model at
the real design, the posterior is computed, and the true value of each parameter
is ranked among the posterior draws. If prior, likelihood and computation agree,
every rank is equally likely (Talts et al. 2018, arXiv:1804.06788).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.proportions import Proportion, proportion
from ketacast.clinical.recipe import COEFFICIENTS, TAUS, ContrastUse, Recipe
from ketacast.clinical.rows import likelihood_rows, to_arrays, to_priors
from ketacast.errors import ConvergenceError, InputError
from ketacast.evidence import Evidence
from ketacast.numerics.hierarchical import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    Rows,
    equal_draws,
    fit_posterior,
)

Float = NDArray[np.float64]

BINS: Final = 20
"""Bins of the chi-square test: 10 of 200 ranks expected in each."""

COVERAGE_LEVELS: Final = (0.5, 0.8, 0.95)
DEFAULT_REPLICATES: Final = 200
DEFAULT_SEED: Final = 20260101
"""Any fixed number: the same synthetic evidence on every run."""


@dataclass(frozen=True, slots=True)
class Replicate:
    """One synthetic evidence set.

    Attributes
    ----------
    truth : (p + 3,) float array
        Coefficients and taus that made it.
    rows : Rows
        Design with simulated counts.
    contrasts : tuple of ContrastUse
        Simulated contrasts.
    jitter : (p + 3,) float array
        Uniform numbers that spread each whole rank over its bin.
    """

    truth: Float
    rows: Rows
    contrasts: tuple[ContrastUse, ...]
    jitter: Float


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """Uniformity of one parameter's ranks.

    Attributes
    ----------
    name : str
        Coefficient or tau.
    chi_square, chi_square_p : float
        Statistic over ``BINS`` bins and its p-value.
    ks, ks_p : float
        Kolmogorov-Smirnov distance and its p-value.
    mean_position : float
        Mean of the positions (0.5 if unbiased; above: the posterior lies too low).
    coverage : tuple of Proportion
        Share of true values inside the central 50, 80 and 95 % intervals.
    positions : tuple of float
        (rank + jitter) / (draws + 1) of the true value, one per replicate.
    """

    name: str
    chi_square: float
    chi_square_p: float
    ks: float
    ks_p: float
    mean_position: float
    coverage: tuple[Proportion, ...]
    positions: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SimulationCheck:
    """Result of simulation-based calibration.

    Attributes
    ----------
    replicates, failures : int
        Synthetic evidence sets, and how many of them could not be fitted.
    seed, draws, bins : int
        What the run was made with.
    least_p, bonferroni_p : float
        Smallest p-value of all tests, and times their number (at most 1).
    failure_messages : tuple of str
        Why fits failed.
    parameters : tuple of ParameterCheck
        One per parameter that has a prior spread.
    """

    replicates: int
    failures: int
    seed: int
    draws: int
    bins: int
    least_p: float
    bonferroni_p: float
    failure_messages: tuple[str, ...]
    parameters: tuple[ParameterCheck, ...]


def simulation_based_calibration(
    evidence: Evidence,
    recipe: Recipe,
    *,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = DEFAULT_SEED,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> SimulationCheck:
    """Fit synthetic evidence drawn from the prior and rank the truth.

    Parameters
    ----------
    evidence : Evidence
        Gives the design: rows, denominators, covariates, families, contrasts.
    recipe : Recipe
        Priors and terms.
    replicates : int
        Synthetic evidence sets, 2 or more.
    seed : int
        Seed of the simulation; every replicate has its own stream, so that the
        result does not depend on `n_jobs`.
    n_jobs : int
        Processes.
    progress : callable, optional
        Told after every fit.

    Returns
    -------
    SimulationCheck

    Raises
    ------
    InputError
        If `replicates` or `seed` is not usable.
    ConvergenceError
        If not even two synthetic sets could be fitted.

    Notes
    -----
    A failed fit is counted and shown; its ranks are missing.
    """
    for name, value, least in (("replicates", replicates, 2), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}; give a whole number, {least} or more")
    work = partial(_positions, evidence, recipe)
    streams = np.random.SeedSequence(seed).spawn(replicates)
    results = map_in_order(work, streams, n_jobs, progress, "simulation")
    fitted = [result for result in results if not isinstance(result, str)]
    messages = [result for result in results if isinstance(result, str)]
    if len(fitted) < 2:
        raise ConvergenceError(
            f"{len(messages)} of {replicates} synthetic sets failed: {messages[0]}"
        )
    checks = _parameter_checks(recipe, np.array(fitted))
    tests = [p for check in checks for p in (check.chi_square_p, check.ks_p)]
    return SimulationCheck(
        replicates=replicates,
        failures=len(messages),
        seed=seed,
        draws=recipe.draws,
        bins=BINS,
        least_p=min(tests),
        bonferroni_p=min(1.0, min(tests) * len(tests)),
        failure_messages=tuple(sorted(set(messages))),
        parameters=checks,
    )


def _parameter_checks(recipe: Recipe, positions: Float) -> tuple[ParameterCheck, ...]:
    names = (*COEFFICIENTS, *TAUS)
    spread = [recipe.priors[name].sd for name in COEFFICIENTS]
    spread += [recipe.half_normal[name] for name in TAUS]
    # A parameter that is fixed in the recipe has no rank to speak of.
    return tuple(
        check_positions(name, positions[:, i]) for i, name in enumerate(names) if spread[i] > 0
    )


def check_positions(name: str, positions: Float) -> ParameterCheck:
    """Test whether positions in (0, 1) are uniform.

    Parameters
    ----------
    name : str
        The parameter's name.
    positions : (n,) float array
        One per replicate.

    Returns
    -------
    ParameterCheck
    """
    found = np.histogram(positions, bins=BINS, range=(0.0, 1.0))[0]
    chi_square = stats.chisquare(found)
    ks = stats.kstest(positions, "uniform")
    return ParameterCheck(
        name=name,
        chi_square=float(chi_square.statistic),
        chi_square_p=float(chi_square.pvalue),
        ks=float(ks.statistic),
        ks_p=float(ks.pvalue),
        mean_position=float(positions.mean()),
        coverage=tuple(
            proportion(level, int(np.sum(np.abs(positions - 0.5) <= level / 2)), positions.size)
            for level in COVERAGE_LEVELS
        ),
        positions=tuple(float(value) for value in positions),
    )


def rank_positions(draws: Float, truth: Float, jitter: Float) -> Float:
    """Place each true value among equally weighted draws.

    Parameters
    ----------
    draws : (n, m) float array
    truth, jitter : (m,) float arrays
        True values; uniform numbers in [0, 1).

    Returns
    -------
    (m,) float array
        ``(number of draws below the truth + jitter) / (n + 1)``.
    """
    below = (draws < truth).sum(axis=0)
    result: Float = (below + jitter) / (draws.shape[0] + 1)
    return result


def _positions(
    evidence: Evidence, recipe: Recipe, stream: np.random.SeedSequence
) -> list[float] | str:
    one = simulate(evidence, recipe, stream)
    try:
        priors = to_priors(evidence, replace(recipe, contrasts=one.contrasts))
        posterior = fit_posterior(one.rows, priors, recipe.points)
        draws = equal_draws(posterior, recipe.draws)
    except ConvergenceError as error:
        return str(error)
    joint = np.concatenate([draws.beta, draws.tau], axis=1)
    placed: list[float] = rank_positions(joint, one.truth, one.jitter).tolist()
    return placed


def simulate(evidence: Evidence, recipe: Recipe, stream: np.random.SeedSequence) -> Replicate:
    """Draw parameters from the prior, then counts and contrasts from the model.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The design and the priors.
    stream : SeedSequence
        Randomness of this replicate alone.

    Returns
    -------
    Replicate
        Pairs are drawn in sequence: responders, then remitters among them.
    """
    rng = np.random.default_rng(stream)
    design = to_arrays(likelihood_rows(evidence, recipe), recipe)
    prior = to_priors(evidence, replace(recipe, contrasts=()))
    root = np.linalg.cholesky(np.linalg.inv(prior.precision))
    beta = prior.mean + root @ rng.standard_normal(prior.mean.size)
    tau = np.abs(rng.standard_normal(prior.tau_scale.size)) * prior.tau_scale
    effects = tau * rng.standard_normal((design.n_families, tau.size))
    of_row = effects[design.family]
    p = special.expit(design.x_response @ beta + of_row[:, 0] + design.slope * of_row[:, 2])
    q = special.expit(design.x_remission @ beta + of_row[:, 1])
    count, total = np.zeros_like(design.count), design.total.copy()
    for i, kind in enumerate(design.kind):
        if kind == REMISSION_IF_RESPONSE:
            total[i] = count[i - 1]  # the pair's responders stand right before
        chance = (
            q[i] if kind == REMISSION_IF_RESPONSE else p[i] * q[i] if kind == REMISSION else p[i]
        )
        count[i] = rng.binomial(int(total[i]), chance)
    contrasts = _simulated_contrasts(evidence, recipe.contrasts, beta, rng)
    return Replicate(
        truth=np.concatenate([beta, tau]),
        rows=replace(design, count=count, total=total),
        contrasts=contrasts,
        jitter=rng.random(beta.size + tau.size),
    )


def _simulated_contrasts(
    evidence: Evidence, uses: Sequence[ContrastUse], beta: Float, rng: np.random.Generator
) -> tuple[ContrastUse, ...]:
    printed = {contrast.contrast_id: contrast.se for contrast in evidence.contrasts}
    simulated = []
    for use in uses:
        se = printed[use.id] if use.se is None else use.se
        if se is None:
            raise InputError(f"contrast {use.id!r} prints no SE; give one in the recipe")
        centre = use.gap * beta[COEFFICIENTS.index(use.coefficient)]
        value = centre + math.hypot(se, use.omega) * rng.standard_normal()
        simulated.append(replace(use, log_or=float(value), se=se))
    return tuple(simulated)
