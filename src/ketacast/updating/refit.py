"""The posterior with the clinic as one more family, where reweighting wears thin.

The engine fits evidence and clinic together, each band of failed trials taken at
its mean; these points are the proposal. Each is then given the clinic's effects
by the map of :mod:`ketacast.updating.reweight` and weighted by the exact
likelihood of the bands over the proposal's, and an even selection of equally
weighted draws is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.artifact import Artifact
from ketacast.clinical.draws import coding_of
from ketacast.clinical.midcourse import weighted_quantiles
from ketacast.clinical.rates import RATER_CODE, Coding, clinic_rates
from ketacast.clinical.recipe import Recipe, load_recipe
from ketacast.clinical.rows import likelihood_rows, to_arrays, to_priors
from ketacast.errors import ArtifactError, ConvergenceError
from ketacast.evidence import Evidence, load_evidence
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.numerics.hierarchical import Posterior, Priors, Rows, fit_posterior
from ketacast.numerics.hierarchical.marginal import log_marginal_likelihood, make_blocks
from ketacast.numerics.hierarchical.model import Int
from ketacast.numerics.hierarchical.posterior import MIN_EFFECTIVE_FRACTION, even_points
from ketacast.updating.counts import Cell
from ketacast.updating.likelihood import doublings, terms_of
from ketacast.updating.reweight import effective_size, move, normalised

COPIES: Final = 4
"""Sets of scores per posterior point: their moments and quantiles are the reference."""

CANDIDATES: Final = 32
"""Selections compared with the reference; the closest halves a typical one's error."""

_GOLDEN: Final = 0.6180339887498949
_PLASTIC: Final = np.array(
    [0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101]
)
"""Multiples of these fill the interval and the four-dimensional cube evenly."""

_CHECKED_TRIALS: Final = (2, 7, 12)
_CHECKED_INFUSIONS: Final = (1, 4, 8)
_CHECKED: Final = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])


@dataclass(frozen=True, slots=True)
class Model:
    """Evidence and priors as arrays, ready to be fitted with a clinic."""

    rows: Rows
    priors: Priors
    coding: Coding
    points: int
    draws: int


@dataclass(frozen=True, slots=True)
class Refit:
    """Equally weighted draws of the posterior that has seen the clinic.

    Attributes
    ----------
    base : EqualDraws
        With the scores before the move, from which
        :func:`~ketacast.updating.reweight.move` goes on to later counts.
    draws : EqualDraws
        With the clinic's own scores: its effects are ``tau * scores``.
    ess : float
        Effective sample size per set of scores, of `Model.points`.
    """

    base: EqualDraws
    draws: EqualDraws
    ess: float


@dataclass(frozen=True, slots=True)
class _Pool:
    """Weighted points of the joint posterior, sets of scores one after another."""

    points: EqualDraws  # with the clinic's scores
    before: Float  # scores before the move
    log_weight: Float
    size: int  # of one set


def load_model(artifact: Artifact) -> Model:
    """Read the evidence and recipe that an artifact was fitted from.

    Raises
    ------
    ArtifactError
        If they are missing or not those of the artifact.
    """
    directory = artifact.directory
    for place in ("evidence", "recipe.toml"):
        if not (directory / place).exists():
            raise ArtifactError(
                f"{directory / place} is missing, and these counts need a refit; restore the "
                "model's directory or rebuild it: `ketacast fit --out DIR`"
            )
    evidence = load_evidence(directory / "evidence")
    recipe = load_recipe(directory / "recipe.toml")
    for name, found in (("evidence", evidence.sha256), ("recipe", recipe.sha256)):
        recorded = artifact.content[name]["sha256"]
        if found != recorded:
            raise ArtifactError(
                f"the {name} in {directory} has sha256 {found[:12]}..., the artifact was fitted "
                f"with {recorded[:12]}...; rebuild it: `ketacast fit --out DIR`"
            )
    return model_arrays(evidence, recipe, coding_of(artifact))


def model_arrays(evidence: Evidence, recipe: Recipe, coding: Coding) -> Model:
    """Code evidence and recipe for refits."""
    return Model(
        rows=to_arrays(likelihood_rows(evidence, recipe), recipe),
        priors=to_priors(evidence, recipe),
        coding=coding,
        points=recipe.points,
        draws=recipe.draws,
    )


def refit(model: Model, cells: Sequence[Cell]) -> Refit:
    """Fit evidence and clinic together.

    Parameters
    ----------
    model : Model
        From :func:`load_model`.
    cells : sequence of Cell
        The clinic's counts, with one patient or more.

    Returns
    -------
    Refit

    Raises
    ------
    ConvergenceError
        If too few points carry weight.
    """
    pool = _pool(model, cells)
    ess = effective_size(pool.log_weight) / COPIES
    if not ess >= MIN_EFFECTIVE_FRACTION * model.points:
        raise ConvergenceError(
            f"the clinic's counts leave only {ess:.0f} of {model.points} points with weight; "
            "they contradict the model: check counts, raters and denominators"
        )
    moments = _moments(_effects(pool.points), normalised(pool.log_weight))
    reference = _reference(pool, model.coding)
    best, least = None, np.inf
    for number in range(CANDIDATES):
        picked = _evenly(pool, number, model.draws)
        draws = _matched(pool.points, picked, moments)
        error = float(np.abs(_quantiles(draws, model.coding) - reference).max())
        if error < least:
            best, least = (picked, draws), error
    if best is None:
        raise ConvergenceError("the refit has rates that are not numbers; check the counts")
    picked, draws = best
    points = pool.points
    base = EqualDraws(points.beta[picked], points.tau[picked], pool.before[picked])
    return Refit(base=base, draws=draws, ess=ess)


def clinic_rows(cells: Sequence[Cell], coding: Coding) -> Rows:
    """Code a clinic's cells as rows of one family, each band at its mean."""
    coded = []
    for cell in cells:
        x, s = doublings(cell, coding), RATER_CODE[cell.rated_by]
        failed = 0.5 * sum(cell.failed_trials) - coding.reference_failed_trials
        coded += [(term.kind, term.count, term.total, x, s, failed) for term in terms_of(cell)]
    table = np.array(coded, dtype=np.float64)
    design = np.column_stack([np.ones(len(coded)), table[:, 3:]])
    nothing = np.zeros_like(design)
    return Rows(
        kind=table[:, 0].astype(np.int64),
        count=table[:, 1],
        total=table[:, 2],
        x_response=np.hstack([design, nothing]),
        x_remission=np.hstack([nothing, design]),
        slope=table[:, 3],
        family=np.zeros(len(coded), dtype=np.int64),
    )


def _joined(evidence: Rows, clinic: Rows) -> Rows:
    """Put the clinic behind the evidence as one more family."""
    parts = {
        name: np.concatenate([getattr(evidence, name), getattr(clinic, name)])
        for name in Rows.__slots__
        if name != "family"
    }
    family = np.concatenate([evidence.family, clinic.family + evidence.n_families])
    return Rows(**parts, family=family)


def _pool(model: Model, cells: Sequence[Cell]) -> _Pool:
    clinic = clinic_rows(cells, model.coding)
    posterior = fit_posterior(_joined(model.rows, clinic), model.priors, model.points)
    order = _along_axis(posterior)
    beta, tau = posterior.beta[order], posterior.tau[order]
    with np.errstate(divide="ignore"):  # a weight of 0 stays 0
        log_weight = np.log(posterior.weight[order])
    log_weight -= log_marginal_likelihood(clinic, make_blocks(clinic), beta, tau)
    even = even_points(model.points, 4)
    before, scores, log_weights = [], [], []
    for copy in range(COPIES):
        points = np.clip((even + copy * _PLASTIC) % 1.0, 1e-9, 1.0 - 1e-9)
        # Sorted like the parameters, so that both together stay evenly spread.
        points = points[np.argsort(points[:, 0], kind="stable")]
        before.append(special.ndtri(points[:, 1:]))
        moved = move(EqualDraws(beta, tau, before[-1]), cells, model.coding)
        scores.append(moved.scores)
        log_weights.append(log_weight + moved.log_weight)
    every = EqualDraws(
        np.tile(beta, (COPIES, 1)), np.tile(tau, (COPIES, 1)), np.concatenate(scores)
    )
    return _Pool(every, np.concatenate(before), np.concatenate(log_weights), model.points)


def _along_axis(posterior: Posterior) -> Int:
    """Order of the points along the first principal axis of their coefficients."""
    p = posterior.beta.shape[1]
    covariance = posterior.covariance()[:p, :p]
    sd = np.sqrt(np.diag(covariance))
    axis = np.linalg.eigh(covariance / np.outer(sd, sd))[1][:, -1]
    axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
    order: Int = np.argsort((posterior.beta / sd) @ axis, kind="stable")
    return order


def _evenly(pool: _Pool, number: int, n: int) -> Int:
    """Systematic resampling from one set of scores: which points to keep, in order."""
    start = (number % COPIES) * pool.size
    log_weight = pool.log_weight[start : start + pool.size]
    cumulative = np.cumsum(normalised(log_weight))
    targets = (np.arange(n) + (0.5 + number * _GOLDEN) % 1.0) / n * cumulative[-1]
    picked: Int = start + np.minimum(np.searchsorted(cumulative, targets), pool.size - 1)
    return picked


def _effects(draws: EqualDraws) -> Float:
    """Coefficients and the clinic's effects: every logit is linear in them."""
    return np.column_stack([draws.beta, draws.tau * draws.scores])


def _moments(values: Float, weight: Float | None = None) -> tuple[Float, Float, Float]:
    """Mean, SD and a root of the correlation; a column that does not vary gets SD 1."""
    mean = np.average(values, axis=0, weights=weight)
    away = values - mean
    variance = np.average(away**2, axis=0, weights=weight)
    fixed = variance < 1e-20
    sd = np.sqrt(np.where(fixed, 1.0, variance))
    away = away / sd
    weighted = away / values.shape[0] if weight is None else away * weight[:, None]
    return mean, sd, np.linalg.cholesky(weighted.T @ away + np.diag(fixed.astype(np.float64)))


def _matched(points: EqualDraws, picked: Int, target: tuple[Float, Float, Float]) -> EqualDraws:
    """Move the picked points affinely to the mean and covariance of all of them."""
    tau = points.tau[picked]
    chosen = EqualDraws(points.beta[picked], tau, points.scores[picked])
    values = _effects(chosen)
    mean, sd, root = _moments(values)
    away = np.linalg.solve(root, ((values - mean) / sd).T).T
    values = target[0] + target[1] * (away @ target[2].T)
    p = chosen.beta.shape[1]
    scores = np.divide(values[:, p:], tau, out=chosen.scores.copy(), where=tau > 0)
    return EqualDraws(beta=values[:, :p], tau=tau, scores=scores)


def _rates(draws: EqualDraws, coding: Coding) -> list[Float]:
    rates = []
    for trials in _CHECKED_TRIALS:
        for infusions in _CHECKED_INFUSIONS:
            for rater in RATER_CODE:
                one = clinic_rates(draws, coding, trials, infusions, rater, new_clinic=True)
                rates += [one.response, one.remission]
    return rates


def _reference(pool: _Pool, coding: Coding) -> Float:
    weight = normalised(pool.log_weight)
    return np.array([weighted_quantiles(r, weight, _CHECKED) for r in _rates(pool.points, coding)])


def _quantiles(draws: EqualDraws, coding: Coding) -> Float:
    return np.array([weighted_quantiles(r, None, _CHECKED) for r in _rates(draws, coding)])
