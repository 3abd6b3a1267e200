"""A clinic's counts as a likelihood of its own effects, draw by draw.

A cell counts the responders and remitters among n patients whose failed trials
lie in a band. Each patient's number is taken as equally likely to be any whole
number of the band, so that the chances of a cell are means over the band: of p
for response, of p q for remission. A cell gives one or two binomial terms:

========================  ==========================================
kind                      likelihood
========================  ==========================================
``RESPONSE``              ``responders ~ Binomial(n, mean p)``
``REMISSION_IF_RESPONSE`` ``remitters ~ Binomial(responders, mean p q / mean p)``
``REMISSION``             ``remitters ~ Binomial(n, mean p q)``
========================  ==========================================

The first two together are the joint multinomial of remission, response without
remission, and neither; the third is for cells that record remitters alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.rates import RATER_CODE, Coding
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.numerics.hierarchical import REMISSION, REMISSION_IF_RESPONSE, RESPONSE
from ketacast.updating.counts import Cell

TINY: Final = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Term:
    """One binomial count of a cell; `kind` is one of the model's row kinds."""

    kind: int
    count: int
    total: int


@dataclass(frozen=True, slots=True)
class CodedCell:
    """A cell's covariates and terms, and its logits without the clinic's effects.

    Attributes
    ----------
    x : float
        Doublings of infusions: covariate of the clinic's slope effect.
    eta, theta : (m, N) float arrays
        Logits of response and of remission given response in an average clinic,
        for each whole number of failed trials in the band and each draw.
    terms : tuple of Term
        What was counted.
    """

    x: float
    eta: Float
    theta: Float
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Heights:
    """Log likelihood with derivatives in the two logit shifts of a cell, (N,) each."""

    log_lik: Float
    score_eta: Float
    score_theta: Float
    info_eta: Float
    info_theta: Float
    info_cross: Float


def terms_of(cell: Cell) -> tuple[Term, ...]:
    """Binomial terms of a cell; a term without patients is left out."""
    terms = []
    if cell.responders is not None:
        terms.append(Term(RESPONSE, cell.responders, cell.n))
        if cell.remitters is not None:
            terms.append(Term(REMISSION_IF_RESPONSE, cell.remitters, cell.responders))
    elif cell.remitters is not None:
        terms.append(Term(REMISSION, cell.remitters, cell.n))
    return tuple(term for term in terms if term.total > 0)


def doublings(cell: Cell, coding: Coding) -> float:
    """Code a cell's infusions: doublings from the reference, up to the plateau."""
    return math.log2(min(cell.infusions, coding.plateau_infusions) / coding.reference_infusions)


def code_cells(cells: Sequence[Cell], draws: EqualDraws, coding: Coding) -> tuple[CodedCell, ...]:
    """Prepare cells for evaluation at every draw; cells without patients are left out."""
    coded = []
    beta = draws.beta
    for cell in cells:
        terms = terms_of(cell)
        if not terms:
            continue
        x = doublings(cell, coding)
        s = RATER_CODE[cell.rated_by]
        band = np.arange(cell.failed_trials[0], cell.failed_trials[1] + 1, dtype=np.float64)
        away = (band - coding.reference_failed_trials)[:, None]
        eta = beta[:, 0] + x * beta[:, 1] + s * beta[:, 2] + away * beta[:, 3]
        theta = beta[:, 4] + x * beta[:, 5] + s * beta[:, 6] + away * beta[:, 7]
        coded.append(CodedCell(x, eta, theta, terms))
    return tuple(coded)


def log_likelihood(cells: Sequence[CodedCell], effects: Float) -> Float:
    """Log likelihood of all cells, without binomial coefficients.

    Parameters
    ----------
    cells : sequence of CodedCell
        From :func:`code_cells`.
    effects : (N, 3) float array
        The clinic's u, v and ub for each draw.

    Returns
    -------
    (N,) float array
    """
    total = np.zeros(effects.shape[0])
    for cell in cells:
        p, q, not_p, not_q = _chances(cell, effects)
        joint = (p * q).mean(axis=0), (p * not_q).mean(axis=0), not_p.mean(axis=0)
        for term in cell.terms:
            chance, other = _pair(term.kind, joint)
            total += _log_binomial(term, chance, other)
    return total


def heights(cell: CodedCell, effects: Float) -> Heights:
    """Log likelihood of one cell and its derivatives in the shifts of its logits.

    The information is that of each binomial given its denominator, so it is
    positive semi-definite; for a band of one number it is the observed one.

    Parameters
    ----------
    cell : CodedCell
        From :func:`code_cells`.
    effects : (N, 3) float array
        The clinic's u, v and ub for each draw.

    Returns
    -------
    Heights
    """
    p, q, not_p, not_q = _chances(cell, effects)
    pq, p_not_q, p_not_p = p * q, p * not_q, p * not_p
    joint = pq.mean(axis=0), p_not_q.mean(axis=0), not_p.mean(axis=0)
    in_eta = (p_not_p * q).mean(axis=0)  # of mean p q
    in_theta = (p_not_q * q).mean(axis=0)
    of_response = p_not_p.mean(axis=0)  # of mean p, in eta
    result = [np.zeros(effects.shape[0]) for _ in range(6)]
    for term in cell.terms:
        chance, other = _pair(term.kind, joint)
        # Slopes of the logarithm of the chance.
        if term.kind == RESPONSE:
            eta, theta = of_response / chance, np.zeros_like(of_response)
        else:
            eta, theta = in_eta / np.maximum(joint[0], TINY), in_theta / np.maximum(joint[0], TINY)
        if term.kind == REMISSION_IF_RESPONSE:
            eta = eta - of_response / np.maximum(joint[0] + joint[1], TINY)
        curved = _curved(term, chance / other, other, eta, theta)
        for total, part in zip(result, (_log_binomial(term, chance, other), *curved), strict=True):
            np.add(total, part, out=total)
    return Heights(*result)


def _curved(term: Term, odds: Float, other: Float, eta: Float, theta: Float) -> tuple[Float, ...]:
    """Score and information of one term; `eta`, `theta` are slopes of the log chance."""
    missed = term.total - term.count
    surplus = term.count - missed * odds
    if term.kind == REMISSION:
        # Few remitters make the observed information indefinite: then the expected one.
        spread = np.minimum(missed / other, term.total) * odds
        excess = np.maximum(surplus, 0.0)
    else:
        spread, excess = term.total * odds, np.zeros_like(odds)
    return (
        surplus * eta,
        surplus * theta,
        spread * eta**2 + excess * eta * (1.0 - eta),
        spread * theta**2 + excess * theta * (1.0 - theta),
        spread * eta * theta,
    )


def cell_chances(cell: CodedCell, effects: Float) -> tuple[Float, Float]:
    """Chances of response and of remission of a patient of the cell, (N,) each."""
    p, q, _, _ = _chances(cell, effects)
    return p.mean(axis=0), (p * q).mean(axis=0)


def _chances(cell: CodedCell, effects: Float) -> tuple[Float, Float, Float, Float]:
    """Return p, q, 1 - p and 1 - q, each (m, N) and accurate near 0."""
    eta = cell.eta + (effects[:, 0] + cell.x * effects[:, 2])
    theta = cell.theta + effects[:, 1]
    p, q = special.expit(eta), special.expit(theta)
    return p, q, special.expit(-eta), special.expit(-theta)


def _pair(kind: int, joint: tuple[Float, Float, Float]) -> tuple[Float, Float]:
    """Return the chance a term counts and its complement, kept above underflow."""
    remission, response_only, neither = joint
    if kind == RESPONSE:
        chance, other = remission + response_only, neither
    elif kind == REMISSION:
        chance, other = remission, response_only + neither
    else:
        response = np.maximum(remission + response_only, TINY)
        chance, other = remission / response, response_only / response
    return np.maximum(chance, TINY), np.maximum(other, TINY)


def _log_binomial(term: Term, chance: Float, other: Float) -> Float:
    result: Float = term.count * np.log(chance) + (term.total - term.count) * np.log(other)
    return result
