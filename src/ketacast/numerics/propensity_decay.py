"""Sensitivity: a propensity that drifts, so that distant infusions correlate less.

The patient's Z becomes a stationary Gaussian process over the doublings of infusions::

    corr(L_k, L_j) = w exp(-decay |log2 k - log2 j|),   k, j counted up to K

which is Markov (Ornstein-Uhlenbeck): the statuses so far are taken in one after the
other on a grid of Z, and a later infusion is one more integral. Meant for a few
comparisons, not for every answer: a full set of draws takes seconds.

References
----------
Uhlenbeck and Ornstein 1930, Phys Rev 36:823; Kitagawa 1987, J Am Stat Assoc 82:1032
(filtering on a grid).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.numerics.propensity import (
    Conditional,
    check_history,
    checked_marginals,
    condition_on_history,
)
from ketacast.numerics.propensity_normal import scratch
from ketacast.numerics.propensity_quadrature import Interval, history_factor, interval_of

LOWEST_DECAY: Final = 0.01
HIGHEST_DECAY: Final = 10.0
HIGHEST_PROPENSITY: Final = 0.999
"""Larger w is taken for this: a finer grid of Z would cost more than it tells."""

_REACH: Final = 8.0
_STEP: Final = 0.6
"""Step of Z in units of the sharpest bend, sqrt(1 - w) or the SD of the drift."""
_AT_ONCE: Final = 512


def condition_with_decay(
    propensity: object, response: object, remission: object, history: str, decay: float
) -> Conditional:
    """Likelihood of the statuses so far and chances later, with a drifting propensity.

    Parameters
    ----------
    propensity, response, remission, history
        As for :func:`ketacast.numerics.propensity.condition_on_history`; w above
        :data:`HIGHEST_PROPENSITY` is taken for it.
    decay : float
        Fall of the log correlation per doubling of infusions: 0, or 0.01 to 10.

    Returns
    -------
    Conditional
        Accurate to 1e-5.

    Raises
    ------
    InputError
        For values outside their ranges.
    """
    if decay == 0.0:
        return condition_on_history(propensity, response, remission, history)
    if not LOWEST_DECAY <= decay <= HIGHEST_DECAY:
        raise InputError(f"decay is {decay!r}; give 0 or a number from 0.01 to 10")
    check_history(history)
    w, p, q = checked_marginals(propensity, response, remission)
    w = np.minimum(w, HIGHEST_PROPENSITY)
    last, first = p.shape[1], len(history) + 1
    later = np.arange(min(first, last) - 1, last)
    known = [(min(k, last - 1), status) for k, status in enumerate(history) if status != "?"]
    if not known:
        return Conditional(frozen(np.ones(w.size)), frozen(p[:, later]), frozen(q[:, later]), first)
    p_cut, q_cut = special.ndtri(p), special.ndtri(q)
    doublings = np.log2(np.arange(1, last + 1))
    intervals = [
        (float(doublings[k]), interval_of(status, p_cut[:, k], q_cut[:, k])) for k, status in known
    ]
    cuts = np.concatenate([p_cut[:, later], q_cut[:, later]], axis=1)
    kept = np.exp(-decay * (doublings[later] - intervals[-1][0]))
    likelihood, chances = np.empty(w.size), np.empty(cuts.shape)
    order = np.argsort(w, kind="stable")
    for at in range(0, w.size, _AT_ONCE):
        rows = order[at : at + _AT_ONCE]
        z, mass = _filtered(w, intervals, rows, decay)
        likelihood[rows] = mass.sum(axis=1)
        mass /= np.maximum(likelihood[rows], 1e-300)[:, None]
        for j, rho in enumerate(np.tile(kept, 2)):
            mean = np.sqrt(w[rows])[:, None] * rho * z
            spread = np.sqrt(1.0 - w[rows] * rho**2)[:, None]
            chance = special.ndtr((cuts[rows, j][:, None] - mean) / spread)
            chances[rows, j] = (mass * chance).sum(axis=1)
    impossible = likelihood == 0.0
    chances[impossible] = np.concatenate([p[:, later], q[:, later]], axis=1)[impossible]
    given_response = np.clip(chances[:, : later.size], 0.0, 1.0)
    given_remission = np.clip(chances[:, later.size :], 0.0, given_response)
    return Conditional(frozen(likelihood), frozen(given_response), frozen(given_remission), first)


def _filtered(
    w: FloatArray, intervals: list[tuple[float, Interval]], rows: NDArray[np.int64], decay: float
) -> tuple[FloatArray, FloatArray]:
    """Grid of Z at the last known infusion (m,) and mass there after the history (d, m)."""
    places = np.array([place for place, _ in intervals])
    kept = np.exp(-decay * np.diff(places))
    drift = np.sqrt(1.0 - kept**2)
    sharpest = min(float(np.sqrt(1.0 - w[rows].max())), *drift[drift > 0.0].tolist(), 1.0)
    z = np.linspace(-_REACH, _REACH, int(np.ceil(2.0 * _REACH / (_STEP * sharpest))) + 1)
    step = z[1] - z[0]
    slope = np.sqrt(w[rows] / (1.0 - w[rows]))[:, None] * z
    spread = np.sqrt(1.0 - w[rows])
    work = scratch(slope.size)
    mass = np.broadcast_to(np.exp(-0.5 * z * z) * step / np.sqrt(2.0 * np.pi), slope.shape)
    for i, (_, interval) in enumerate(intervals):
        if i > 0 and drift[i - 1] > 0.0:
            away = (z - kept[i - 1] * z[:, None]) / drift[i - 1]
            kernel = np.exp(-0.5 * away**2) * step / (drift[i - 1] * np.sqrt(2.0 * np.pi))
            mass = mass @ kernel
        mass = mass * history_factor(slope, spread, [interval], rows, work)
    return z, mass
