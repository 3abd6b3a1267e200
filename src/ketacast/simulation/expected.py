"""The exact engine: occupancy of the course's states, integrated over the propensity.

Given Z the infusions are independent, so the automaton of a strategy is run forward on
every node of Z at once; the trapezoidal rule adds the nodes up. The integrand bends over
``sqrt(1 - w)``, as in :mod:`ketacast.numerics.propensity_quadrature`, whose step is used;
here the whole line is covered, because every path counts.

References
----------
Gibbons and Hedeker 1997, Biometrics 53:1527 (random-effects probit); Trefethen and
Weideman 2014, SIAM Rev 56:385 (trapezoidal rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray
from ketacast.numerics.propensity_normal import normal_cdf_in_place, scratch
from ketacast.simulation.automaton import DROPPED, Automaton
from ketacast.simulation.flows import CourseFlow
from ketacast.simulation.parameters import Parameters

Int = NDArray[np.int64]

REACH: Final = 7.0
"""Nodes reach from -7 to 7: 2.6e-12 of the patients lie beyond."""

_STEP: Final = (0.70, 0.46)
"""The step is sqrt((1 - w) / (0.70 + 0.46 H)) for H statuses: the precisions of the bends
add up. The error is tested against adaptive integration."""

_WIDEST: Final = 0.5
"""Widest step: the normal density alone is then integrated to 1e-16."""

_BLOCK: Final = 32768
"""Nodes at a time: the arrays in use stay in the processor's second cache."""


def course_flows(
    parameters: Parameters,
    automata: Sequence[Automaton],
    clinic_of_cell: Int,
    patients: FloatArray,
    dropout: float,
) -> list[CourseFlow]:
    """Compute expected numbers of patients through each strategy's course.

    Parameters
    ----------
    parameters : Parameters
        Of D draws, C cells, G clinics.
    automata : sequence of Automaton
        One for each strategy.
    clinic_of_cell : (C,) int array
    patients : (C,) float array
        Expected number in each cell.
    dropout : float
        Probability of not coming to the next infusion.

    Returns
    -------
    list of CourseFlow
        ``B = D``. Absolute error below 1e-6 of the patients, tested.
    """
    draws, cells, _ = parameters.response.shape
    clinics = parameters.propensity.shape[1]
    longest = max(one.infusions for one in automata)
    w = parameters.propensity[:, clinic_of_cell].ravel()
    rows = draws * cells
    response = special.ndtri(parameters.response.reshape(rows, -1))
    remission = special.ndtri(parameters.remission.reshape(rows, -1))
    staying = np.zeros((len(automata), rows, longest, 3))
    leaving = np.zeros((len(automata), rows, longest, 3, 3))
    for some, z, weight in _blocks(w, longest):
        chances = _status_chances(w[some], response[some], remission[some], z, longest)
        for s, automaton in enumerate(automata):
            flow = CourseFlow(staying[s][some], leaving[s][some])
            _run(automaton, chances, weight, dropout, flow)
            staying[s][some], leaving[s][some] = flow.staying, flow.leaving
    by_cell = patients[None, :, None, None]
    found = []
    for s in range(len(automata)):
        stay = staying[s].reshape(draws, cells, longest, 3) * by_cell
        leave = leaving[s].reshape(draws, cells, longest, 3, 3) * by_cell[..., None]
        found.append(
            CourseFlow(
                _by_clinic(stay, clinic_of_cell, clinics),
                _by_clinic(leave, clinic_of_cell, clinics),
            )
        )
    return found


def _by_clinic(values: FloatArray, clinic_of_cell: Int, clinics: int) -> FloatArray:
    """Add cells up by clinic, (D, G, ...), always in the order of the cells."""
    total = np.zeros((values.shape[0], clinics, *values.shape[2:]))
    for cell, clinic in enumerate(clinic_of_cell):
        total[:, clinic] += values[:, cell]
    return total


def _blocks(w: FloatArray, infusions: int) -> Iterator[tuple[Int, FloatArray, FloatArray]]:
    """Rows with the same number of nodes, their nodes (m,) and weights (m,).

    The number depends on the row alone, so that a row gives the same bits in any company.
    """
    step = np.sqrt((1.0 - w) / (_STEP[0] + _STEP[1] * infusions))
    level = np.ceil(2.0 * np.log2(2.0 * REACH / np.minimum(step, _WIDEST))).astype(np.int64)
    for one in np.unique(level):
        m = int(np.ceil(2.0 ** (one / 2.0))) + 1
        z = np.linspace(-REACH, REACH, m)
        weight = np.exp(-0.5 * z * z) * ((z[1] - z[0]) / np.sqrt(2.0 * np.pi))
        rows = np.flatnonzero(level == one)
        at_once = max(1, _BLOCK // m)
        for at in range(0, rows.size, at_once):
            yield rows[at : at + at_once], z, weight


def _status_chances(
    w: FloatArray, response: FloatArray, remission: FloatArray, z: FloatArray, infusions: int
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Chances of N, R and M given Z after each infusion, (rows, nodes) each."""
    spread = np.sqrt(1.0 - w)[:, None]
    slope = np.sqrt(w)[:, None] * z / spread
    work = scratch(slope.size)
    found: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    plateau = response.shape[1]
    for k in range(min(infusions, plateau)):
        some = response[:, k, None] / spread - slope
        best = remission[:, k, None] / spread - slope
        normal_cdf_in_place(some.reshape(-1), work)
        normal_cdf_in_place(best.reshape(-1), work)
        best = np.minimum(best, some)  # they differ in the last digit where both are near 1
        found.append((1.0 - some, some - best, best))
    return found + found[-1:] * (infusions - len(found))


def _run(
    automaton: Automaton,
    chances: Sequence[tuple[FloatArray, FloatArray, FloatArray]],
    weight: FloatArray,
    dropout: float,
    flow: CourseFlow,
) -> None:
    """Run one automaton forward over the nodes; add the rows' numbers to their flow."""
    shape = chances[0][0].shape
    mass: list[FloatArray | None] = [None] * automaton.states
    mass[automaton.start] = np.broadcast_to(weight, shape)
    for k in range(automaton.infusions):
        after: list[FloatArray | None] = [None] * automaton.states
        for state, own in enumerate(mass):
            if own is None:
                continue
            for letter in range(3):
                part = own * chances[k][letter]
                total = part.sum(axis=1)
                move = int(automaton.moves[k, state, letter])
                if move < 0:
                    flow.leaving[:, k, letter, -1 - move] += total
                    continue
                if dropout:
                    flow.leaving[:, k, letter, DROPPED] += dropout * total
                    part *= 1.0 - dropout
                    total = (1.0 - dropout) * total
                flow.staying[:, k, letter] += total
                held = after[move]
                after[move] = part if held is None else held + part
        mass = after
