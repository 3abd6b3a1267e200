"""Exact marginal likelihood of the families at many parameter points.

Within a family the effects separate into *blocks* that share no count: the
response rows (one effect when all rows have the same slope covariate, else
two) and the remission-given-response rows (one effect). A row that counts
remissions of all treated ties both into one block. Each block is integrated by
adaptive Gauss-Hermite quadrature around its own mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.polynomial import hermite_e
from scipy import special

from ketacast.numerics.hierarchical.likelihood import (
    log_binomial_logit,
    log_binomial_product,
    row_terms,
)
from ketacast.numerics.hierarchical.model import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    RESPONSE,
    Float,
    Int,
    Rows,
)

NODES: Final = {1: 11, 2: 9, 3: 7}
"""Nodes per dimension; the error against 41 nodes is tested to stay below 0.02 in
the log where the posterior has mass, a small part of a weight's own spread."""

MODE_STEPS: Final = 40
"""Newton steps at most: 0 of 100,000 events needs a dozen, ordinary counts need four."""

SETTLED: Final = 0.01
"""Logit step at which the mode is good enough to place the nodes."""

MAX_LOGIT_STEP: Final = 3.0
"""A logistic Newton step beyond this leaves the region where the curvature holds."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one family that share effects, and how the effects enter them.

    Attributes
    ----------
    rows : (r,) int array
        Indices into ``Rows``.
    dimension : int
        Number of standard-normal scores to integrate over, 1 to 3.
    one_slope : bool
        True where u and ub act as one effect of variance
        ``tau_R^2 + slope^2 tau_b^2``.
    """

    rows: Int
    dimension: int
    one_slope: bool


def make_blocks(rows: Rows) -> tuple[Block, ...]:
    """Split every family into independent blocks."""
    blocks: list[Block] = []
    for family in range(rows.n_families):
        members = np.flatnonzero(rows.family == family)
        kinds = rows.kind[members]
        if np.any(kinds == REMISSION):
            parts = [members]
        else:
            parts = [members[kinds == RESPONSE], members[kinds == REMISSION_IF_RESPONSE]]
        blocks.extend(_make_block(rows, part) for part in parts if part.size)
    return tuple(blocks)


def _make_block(rows: Rows, members: Int) -> Block:
    with_response = members[rows.kind[members] != REMISSION_IF_RESPONSE]
    with_remission = members[rows.kind[members] != RESPONSE]
    slopes = np.unique(rows.slope[with_response])
    one_slope = slopes.size <= 1
    dimension = (0 if not with_response.size else 1 if one_slope else 2) + (with_remission.size > 0)
    return Block(rows=members, dimension=int(dimension), one_slope=one_slope)


def _loadings(rows: Rows, block: Block, tau: Float) -> tuple[Float, Float]:
    """Return the loadings (N, r, d) of the block's scores on eta and theta."""
    members = block.rows
    shape = (tau.shape[0], members.size, block.dimension)
    on_eta, on_theta = np.zeros(shape), np.zeros(shape)
    kinds = rows.kind[members]
    if np.any(kinds != REMISSION_IF_RESPONSE):
        slope = np.where(kinds == REMISSION_IF_RESPONSE, 0.0, rows.slope[members])
        if block.one_slope:
            at = slope[kinds != REMISSION_IF_RESPONSE][0]
            on_eta[:, :, 0] = np.sqrt(tau[:, 0] ** 2 + (at * tau[:, 2]) ** 2)[:, None]
        else:
            on_eta[:, :, 0] = tau[:, None, 0]
            on_eta[:, :, 1] = tau[:, None, 2] * slope
    if np.any(kinds != RESPONSE):
        on_theta[:, :, -1] = tau[:, None, 1]
    return on_eta, on_theta


def log_marginal_likelihood(
    rows: Rows, blocks: tuple[Block, ...], beta: Float, tau: Float
) -> Float:
    """Log likelihood with the family effects integrated out.

    Parameters
    ----------
    rows : Rows
        The data.
    blocks : tuple of Block
        From :func:`make_blocks`.
    beta : (N, p) float array
        Coefficients.
    tau : (N, 3) float array
        tau_R, tau_M, tau_b.

    Returns
    -------
    (N,) float array
        Without binomial coefficients.
    """
    eta = beta @ rows.x_response.T
    theta = beta @ rows.x_remission.T
    total = np.zeros(beta.shape[0])
    for block in blocks:
        total += _log_block(rows, block, eta[:, block.rows], theta[:, block.rows], tau)
    return total


def _log_block(rows: Rows, block: Block, eta: Float, theta: Float, tau: Float) -> Float:
    """Adaptive Gauss-Hermite integral of one block at N points."""
    if block.dimension == 1:
        return _log_block_1d(rows, block, eta, theta, tau)
    loadings = _loadings(rows, block, tau)
    mode, root = _mode(rows, block, eta, theta, loadings)
    dimension = block.dimension
    # Each logit is linear in the node: its value at the mode plus a spread.
    centre = [
        logit + np.einsum("nrk,nk->nr", load, mode)
        for logit, load in zip((eta, theta), loadings, strict=True)
    ]
    spread = [np.ascontiguousarray((load @ root).transpose(1, 2, 0)) for load in loadings]
    nodes, weights = hermite_e.hermegauss(NODES[dimension])
    log_weights = np.log(weights / np.sqrt(2.0 * np.pi))
    values = []
    for index in product(range(nodes.size), repeat=dimension):
        at = nodes[list(index)]
        scores = mode + root @ at
        log_height = _log_rows(rows, block, centre, spread, at)
        log_height += 0.5 * (at @ at) - 0.5 * (scores**2).sum(axis=1)
        values.append(log_height + log_weights[list(index)].sum())
    stacked = np.stack(values)
    top = stacked.max(axis=0)
    log_scale = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    integral: Float = top + np.log(np.exp(stacked - top).sum(axis=0)) + log_scale
    return integral


def _log_block_1d(rows: Rows, block: Block, eta: Float, theta: Float, tau: Float) -> Float:
    """Integrate a block of one score: all rows of such a block share one kind of logit."""
    of_response = rows.kind[block.rows[0]] == RESPONSE
    logit = eta if of_response else theta
    count, total = rows.count[block.rows], rows.total[block.rows]
    loadings = _loadings(rows, block, tau)[0 if of_response else 1][:, 0, 0]
    events, missed = count.sum() + 0.5, (total - count).sum() + 0.5
    shortfall = np.log(events / missed) - logit.mean(axis=1)
    # The pooled empirical logit, shrunk as if it were normal.
    score = loadings * shortfall / (loadings**2 + 1.0 / events + 1.0 / missed)
    for _ in range(MODE_STEPS):
        p = special.expit(logit + (loadings * score)[:, None])
        gradient = loadings * (count - total * p).sum(axis=1) - score
        information = loadings**2 * (total * p * (1.0 - p)).sum(axis=1) + 1.0
        limit = MAX_LOGIT_STEP / np.maximum(loadings, 1e-300)
        step = np.clip(gradient / information, -limit, limit)
        score = score + step
        if np.max(np.abs(loadings * step)) < SETTLED:
            break
    p = special.expit(logit + (loadings * score)[:, None])
    scale = 1.0 / np.sqrt(loadings**2 * (total * p * (1.0 - p)).sum(axis=1) + 1.0)
    nodes, weights = hermite_e.hermegauss(NODES[1])
    scores = score + scale * nodes[:, None]  # (m, N)
    log_height = -0.5 * scores**2 + (0.5 * nodes**2 + np.log(weights / np.sqrt(2 * np.pi)))[:, None]
    for j in range(count.size):
        log_height += log_binomial_logit(count[j], total[j], logit[:, j] + loadings * scores)
    top = log_height.max(axis=0)
    integral: Float = top + np.log(np.exp(log_height - top).sum(axis=0)) + np.log(scale)
    return integral


def _log_rows(
    rows: Rows, block: Block, centre: list[Float], spread: list[Float], at: Float
) -> Float:
    """Log likelihood (N,) of the block's rows with the scores at one node."""
    total = np.zeros(centre[0].shape[0])
    for j, row in enumerate(block.rows):
        count, size = rows.count[row], rows.total[row]
        logits = [
            centre[part][:, j] + at @ spread[part][j]
            for part, unused in ((0, REMISSION_IF_RESPONSE), (1, RESPONSE))
            if rows.kind[row] != unused
        ]
        if rows.kind[row] == REMISSION:
            total += log_binomial_product(count, size, logits[0], logits[1])
        else:
            total += log_binomial_logit(count, size, logits[0])
    return total


def _mode(
    rows: Rows, block: Block, eta: Float, theta: Float, loadings: tuple[Float, Float]
) -> tuple[Float, Float]:
    """Mode (N, d) of the scores and a root (N, d, d) of their covariance there."""
    on_eta, on_theta = loadings
    members = block.rows
    kind, count, total = rows.kind[members], rows.count[members], rows.total[members]
    scores = np.zeros((eta.shape[0], block.dimension))
    identity = np.eye(block.dimension)
    reach = np.full(eta.shape[0], np.inf)
    for step_number in range(MODE_STEPS + 1):
        terms = row_terms(
            kind,
            count,
            total,
            eta + np.einsum("nrk,nk->nr", on_eta, scores),
            theta + np.einsum("nrk,nk->nr", on_theta, scores),
        )
        information = (
            np.einsum("nr,nrk,nrl->nkl", terms.info_response, on_eta, on_eta)
            + np.einsum("nr,nrk,nrl->nkl", terms.info_remission, on_theta, on_theta)
            + np.einsum("nr,nrk,nrl->nkl", terms.info_cross, on_eta, on_theta)
            + np.einsum("nr,nrk,nrl->nkl", terms.info_cross, on_theta, on_eta)
            + identity
        )
        if step_number == MODE_STEPS or reach.max() < SETTLED:
            break
        gradient = (
            np.einsum("nr,nrk->nk", terms.score_response, on_eta)
            + np.einsum("nr,nrk->nk", terms.score_remission, on_theta)
            - scores
        )
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        reach = np.maximum(
            np.abs(np.einsum("nrk,nk->nr", on_eta, step)).max(axis=1),
            np.abs(np.einsum("nrk,nk->nr", on_theta, step)).max(axis=1),
        )
        scores = (
            scores + step * np.minimum(1.0, MAX_LOGIT_STEP / np.maximum(reach, 1e-300))[:, None]
        )
    root = np.linalg.cholesky(np.linalg.inv(information))
    return scores, root
