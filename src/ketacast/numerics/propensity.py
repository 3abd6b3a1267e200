"""A patient's own propensity: chances later in a course, given the statuses so far.

Within a patient the statuses N (no response), R (response, not remission) and M
(remission) are tied by a random intercept on the probit scale::

    L_k = sqrt(w) Z + sqrt(1 - w) e_k,   Z, e_k ~ N(0, 1) independent
    R or M at k  iff  L_k <= Phi^-1(response_k);   M at k  iff  L_k <= Phi^-1(remission_k)

so that every marginal stays what it is and any two infusions correlate by w. Given Z
the infusions are independent: the probability of a history and the chances at later
infusions are integrals over Z, one per posterior draw.

Conditional chances are accurate to :data:`ACCURACY`, the likelihood of the history to
that relative to itself. Draws under which the history is all but impossible (below
1e-12) are less accurate, and carry no weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.propensity_quadrature import integrate, interval_of

STATUSES: Final = "NRM?"
"""No response, response without remission, remission, unknown."""

ACCURACY: Final = 1e-6
"""Of the quadrature, tested against adaptive integration for w from 0.01 to 0.999."""

HIGHEST_PROPENSITY: Final = 1.0 - 1e-6
"""Closer to 1 the integrand is a step that takes too many nodes to resolve (their
number grows as 1 / sqrt(1 - w), to tens of thousands here)."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """Likelihood of a history and chances after it, draw by draw.

    Attributes
    ----------
    likelihood : (n,) float array
        Probability of the known statuses so far.
    response, remission : (n, F) float arrays
        Chances at infusions ``first, first + 1, ...``, given the history;
        ``remission <= response``. The last column holds for every later infusion.
        Where the likelihood is too small for a double (0), the marginals.
    first : int
        The next infusion, ``len(history) + 1``.
    """

    likelihood: FloatArray
    response: FloatArray
    remission: FloatArray
    first: int


def check_history(history: object) -> str:
    """Refuse a status history that is not made of the letters N, R, M and ?.

    Raises
    ------
    InputError
        For anything else.
    """
    if not isinstance(history, str) or not set(history) <= set(STATUSES):
        raise InputError(
            f"history is {history!r}; give one letter per infusion: N no response, "
            "R response, M remission, ? unknown, for example 'NNR?'"
        )
    return history


def condition_on_history(
    propensity: object, response: object, remission: object, history: str
) -> Conditional:
    """Likelihood of the statuses so far and chances at later infusions.

    Parameters
    ----------
    propensity : (n,) array_like
        w of each draw, 0 to :data:`HIGHEST_PROPENSITY`.
    response, remission : (n, K) array_like
        Marginal probabilities after infusions 1..K; ``remission <= response``.
        Beyond infusion K the marginals stay those of K.
    history : str
        One letter per infusion so far (:data:`STATUSES`); may be empty.

    Returns
    -------
    Conditional

    Raises
    ------
    InputError
        For values outside their ranges or shapes that do not match.
    """
    check_history(history)
    w, p, q = checked_marginals(propensity, response, remission)
    last = p.shape[1]
    first = len(history) + 1
    later = slice(min(first, last) - 1, last)
    p_later, q_later = p[:, later], q[:, later]
    known = [(min(k, last - 1), status) for k, status in enumerate(history) if status != "?"]
    if not known:
        return Conditional(frozen(np.ones(w.size)), frozen(p_later), frozen(q_later), first)
    response_threshold, remission_threshold = special.ndtri(p), special.ndtri(q)
    intervals = [
        interval_of(status, response_threshold[:, k], remission_threshold[:, k])
        for k, status in known
    ]
    thresholds = np.concatenate([response_threshold[:, later], remission_threshold[:, later]], 1)
    likelihood, chances = integrate(w, intervals, thresholds)
    width = p_later.shape[1]
    impossible = likelihood == 0.0
    chances[impossible] = np.concatenate([p_later[impossible], q_later[impossible]], 1)
    given_response = np.clip(chances[:, :width], 0.0, 1.0)
    given_remission = np.clip(chances[:, width:], 0.0, given_response)
    apart = w == 0.0
    likelihood[apart] = _product(p[apart], q[apart], known)
    given_response[apart], given_remission[apart] = p_later[apart], q_later[apart]
    return Conditional(frozen(likelihood), frozen(given_response), frozen(given_remission), first)


def checked_marginals(
    propensity: object, response: object, remission: object
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Refuse propensities and marginals outside their ranges; see the callers."""
    w = real_array("propensity", propensity, ndim=1)
    p = real_array("response", response, ndim=2)
    q = real_array("remission", remission, ndim=2)
    bad = (w < 0.0) | (w > HIGHEST_PROPENSITY)
    refuse_where("propensity", w, bad, "must lie from 0 to 0.999999")
    if p.shape != q.shape or p.shape[0] != w.size:
        raise InputError(
            f"propensity {w.shape}, response {p.shape} and remission {q.shape} do not match; "
            "give n values and two arrays of n rows, one column per infusion"
        )
    refuse_where("response", p, (p < 0.0) | (p > 1.0), "must be a probability from 0 to 1")
    refuse_where("remission", q, (q < 0.0) | (q > p), "must lie from 0 to the chance of response")
    return w, p, q


def _product(p: FloatArray, q: FloatArray, known: list[tuple[int, str]]) -> FloatArray:
    """Likelihood of the history where infusions are independent (w = 0)."""
    result = np.ones(p.shape[0])
    for k, status in known:
        chance = {"N": 1.0 - p[:, k], "R": p[:, k] - q[:, k], "M": q[:, k]}[status]
        result = result * chance
    return result
