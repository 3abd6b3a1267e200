"""Binomial log likelihood of the rows, with its score and information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ketacast.numerics.hierarchical.model import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    RESPONSE,
    Float,
    Int,
)


@dataclass(frozen=True, slots=True)
class RowTerms:
    """Log likelihood of each row and its derivatives; arrays of shape (..., R).

    ``score_*`` are first derivatives with respect to the two linear predictors,
    ``info_*`` an information that is positive semi-definite in every row: the
    observed one, or the expected one where the log likelihood is not concave.
    """

    log_lik: Float
    score_response: Float
    score_remission: Float
    info_response: Float
    info_remission: Float
    info_cross: Float


def log_binomial_coefficient(count: Float, total: Float) -> Float:
    """Logarithm of ``total choose count``, elementwise."""
    result: Float = (
        special.gammaln(total + 1) - special.gammaln(count + 1) - special.gammaln(total - count + 1)
    )
    return result


def log_binomial_logit(count: Float | float, total: Float | float, eta: Float) -> Float:
    """Binomial log likelihood at logit `eta`, without the coefficient.

    Notes
    -----
    ``y log p + (n - y) log(1 - p) = y eta - n log(1 + exp(eta))``.
    """
    softplus = np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta)))
    result: Float = count * eta - total * softplus
    return result


def log_binomial_product(
    count: Float | float, total: Float | float, eta: Float, theta: Float
) -> Float:
    """Binomial log likelihood of probability ``expit(eta) expit(theta)``.

    Notes
    -----
    ``1 - p q = (1 - p) + p (1 - q)`` is a sum of positive terms, so that the
    complement keeps its relative accuracy when both probabilities are near 1.
    """
    log_product = -np.logaddexp(0.0, -eta) - np.logaddexp(0.0, -theta)
    complement = special.expit(-eta) + special.expit(eta) * special.expit(-theta)
    result: Float = count * log_product + special.xlogy(total - count, complement)
    return result


def row_terms(kind: Int, count: Float, total: Float, eta: Float, theta: Float) -> RowTerms:
    """Evaluate all rows.

    Parameters
    ----------
    kind, count, total : (R,) arrays
        Kind of each row, events and denominator.
    eta, theta : (..., R) float arrays
        Logit of response and logit of remission given response.

    Returns
    -------
    RowTerms
        Without binomial coefficients.
    """
    p, q = special.expit(eta), special.expit(theta)
    not_p, not_q = special.expit(-eta), special.expit(-theta)
    on_p, on_q, on_pq = kind == RESPONSE, kind == REMISSION_IF_RESPONSE, kind == REMISSION
    complement = np.maximum(not_p + p * not_q, np.finfo(float).tiny)
    odds = p * q / complement
    surplus = count - (total - count) * odds
    info_p, info_q, info_cross = _product_information(
        (p, q), (not_p, not_q), (count, total), (odds, complement, surplus)
    )
    return RowTerms(
        log_lik=np.where(
            on_pq,
            log_binomial_product(count, total, eta, theta),
            log_binomial_logit(count, total, np.where(on_p, eta, theta)),
        ),
        score_response=np.where(on_p, count - total * p, np.where(on_pq, surplus * not_p, 0.0)),
        score_remission=np.where(on_q, count - total * q, np.where(on_pq, surplus * not_q, 0.0)),
        info_response=np.where(on_p, total * p * not_p, np.where(on_pq, info_p, 0.0)),
        info_remission=np.where(on_q, total * q * not_q, np.where(on_pq, info_q, 0.0)),
        info_cross=np.where(on_pq, info_cross, 0.0),
    )


def _product_information(
    chance: tuple[Float, Float],
    other: tuple[Float, Float],
    data: tuple[Float, Float],
    at: tuple[Float, Float, Float],
) -> tuple[Float, Float, Float]:
    """Information of ``REMISSION`` rows: observed where positive, else expected.

    The observed one makes Newton's method converge quadratically; with few
    remissions it can be indefinite far from the mode.
    """
    (p, q), (not_p, not_q), (count, total), (odds, complement, surplus) = chance, other, data, at
    spread = (total - count) * odds / complement
    in_p = p * not_p * surplus + spread * not_p**2
    in_q = q * not_q * surplus + spread * not_q**2
    cross = spread * not_p * not_q
    observed = (in_p >= 0) & (in_q >= 0) & (in_p * in_q >= cross**2)
    expected = total * odds
    return (
        np.where(observed, in_p, expected * not_p**2),
        np.where(observed, in_q, expected * not_q**2),
        np.where(observed, cross, expected * not_p * not_q),
    )
