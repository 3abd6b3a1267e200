"""A finite number of propensity classes, with exact rates in each.

Z is cut at its quantiles into classes of equal probability. In a class the chance of a
status after an infusion is its mean over the class, so that every rate before the course
stays exactly the model's; within a class infusions are taken as independent. What that
misses is the covariance within a class, which falls with the square of the classes'
width; :func:`class_error` measures it for the case at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray
from ketacast.numerics.propensity_table import bivariate_normal_cdf
from ketacast.simulation.automaton import DROPPED, Automaton
from ketacast.simulation.flows import CourseFlow
from ketacast.simulation.parameters import Parameters

Int = NDArray[np.int64]


def class_chances(parameters: Parameters, clinic_of_cell: Int, classes: int) -> FloatArray:
    """Chances of remission, and of response, in each class.

    Parameters
    ----------
    parameters : Parameters
        Of D draws and C cells.
    clinic_of_cell : (C,) int array
    classes : int
        Q.

    Returns
    -------
    (2, D, C, K, Q) float array
        Remission, then response (remission included); means over each class.

    Notes
    -----
    With ``r = sqrt(w)`` the pair (Z, L) is bivariate normal, so that
    ``P(L <= t, Z <= z)`` is its distribution function (Owen 1956, Ann Math Stat 27:1075).
    """
    cuts = special.ndtri(np.arange(1, classes) / classes)
    root = np.sqrt(parameters.propensity[:, clinic_of_cell])[:, :, None, None]
    found = []
    for rate in (parameters.remission, parameters.response):
        threshold = special.ndtri(rate)[..., None]
        inner = bivariate_normal_cdf(cuts, threshold, root)
        cumulative = np.concatenate([np.zeros((*rate.shape, 1)), inner, rate[..., None]], axis=-1)
        found.append(np.clip(classes * np.diff(cumulative, axis=-1), 0.0, 1.0))
    best, some = found
    return np.stack([np.minimum(best, some), some])


def class_flows(
    parameters: Parameters,
    automata: Sequence[Automaton],
    clinic_of_cell: Int,
    patients: FloatArray,
    *,
    dropout: float,
    classes: int,
) -> list[CourseFlow]:
    """Return the numbers expected under the classes, as the exact engine does."""
    chances = class_chances(parameters, clinic_of_cell, classes)
    draws, cells, plateau = parameters.response.shape
    clinics = parameters.propensity.shape[1]
    longest = max(one.infusions for one in automata)
    status = np.stack([1.0 - chances[1], chances[1] - chances[0], chances[0]])
    found = []
    for automaton in automata:
        flow = CourseFlow(
            np.zeros((draws, clinics, longest, 3)), np.zeros((draws, clinics, longest, 3, 3))
        )
        mass = np.zeros((automaton.states, draws, cells, classes))
        mass[automaton.start] = patients[:, None] / classes
        for k in range(automaton.infusions):
            chance = status[:, :, :, min(k, plateau - 1)]
            after = np.zeros_like(mass)
            for state, letter in product(range(automaton.states), range(3)):
                part = mass[state] * chance[letter]
                move = int(automaton.moves[k, state, letter])
                if move >= 0:
                    after[move] += (1.0 - dropout) * part
                _record(flow, (k, letter, move), part.sum(axis=-1), clinic_of_cell, dropout)
            mass = after
        found.append(flow)
    return found


def _record(
    flow: CourseFlow,
    step: tuple[int, int, int],
    total: FloatArray,
    clinic_of_cell: Int,
    dropout: float,
) -> None:
    """Add cells' totals (D, C) of one infusion, status and move to a flow."""
    k, letter, move = step
    for cell, clinic in enumerate(clinic_of_cell):
        own = total[:, cell]
        if move < 0:
            flow.leaving[:, clinic, k, letter, -1 - move] += own
        else:
            flow.leaving[:, clinic, k, letter, DROPPED] += dropout * own
            flow.staying[:, clinic, k, letter] += (1.0 - dropout) * own


def class_error(exact: Sequence[CourseFlow], classed: Sequence[CourseFlow]) -> float:
    """Largest difference of any number between two flows; both of one patient in all."""
    return max(
        float(np.abs(getattr(one, name) - getattr(other, name)).max())
        for one, other in zip(exact, classed, strict=True)
        for name in ("staying", "leaving")
    )
