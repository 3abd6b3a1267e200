"""The counting engine: multinomial counts over covariate cells and propensity classes.

Patients of a cell and class are exchangeable and their statuses independent given the
class, so that counts carry all there is to know: a billion patients cost no more than a
thousand. The strategies are run jointly on the same statuses, so that each patient is
his own comparison; after the course their random numbers are common.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.simulation.automaton import DROPPED, JointStep
from ketacast.simulation.flows import CourseFlow
from ketacast.simulation.streams import COHORT, DROPOUT, STATUS, Streams

Int = NDArray[np.int64]

HALVES = 2


def cohort_counts(weights: FloatArray, patients: int, *, counted: bool, streams: Streams) -> Int:
    """Patients in each cell of the two halves of the cohort, (2, C).

    Counted cohorts are kept as they are, but for a fraction (an unknown rater's halves of
    an odd number), which is drawn; shares are drawn as a multinomial.
    """
    generator = streams.generator(COHORT)
    halves = np.array([patients // HALVES, patients - patients // HALVES])
    if not counted:
        return generator.multinomial(halves, weights / weights.sum())
    floor = np.floor(weights).astype(np.int64)
    rest = patients - int(floor.sum())
    fraction = weights - floor
    total = floor
    if rest:
        # Systematic sampling: each cell gets one more with its fraction as probability.
        edges = np.cumsum(fraction)
        places = (np.arange(rest) + generator.random()) * edges[-1] / rest
        chosen = np.minimum(np.searchsorted(edges, places, side="right"), fraction.size - 1)
        total = floor + np.bincount(chosen, minlength=fraction.size)
    return split_in_halves(total, int(halves[0]))


def split_in_halves(total: Int, first: int) -> Int:
    """Deal patients, cell after cell, alternately to two halves of given sizes, (2, C)."""
    ends = np.cumsum(total)
    # Of the first m patients in the order of the cells, m // 2 go to the first half.
    edges = np.minimum(ends // HALVES, first)
    one = np.diff(edges, prepend=0)
    return np.stack([one, total - one])


def course_counts(
    steps: Sequence[JointStep],
    chances: FloatArray,
    cells: Int,
    clinic_of_cell: Int,
    *,
    dropout: float,
    streams: Streams,
) -> list[CourseFlow]:
    """Simulate the strategies' courses jointly for one draw.

    Parameters
    ----------
    steps : sequence of JointStep
        From :func:`ketacast.simulation.automaton.join`.
    chances : (2, C, K, Q) float array
        Remission and response in each cell and class, of one draw.
    cells : (2, C) int array
        Patients of each half.
    clinic_of_cell : (C,) int array
    dropout : float
    streams : Streams

    Returns
    -------
    list of CourseFlow
        ``B = 2``: the halves.
    """
    classes, plateau = chances.shape[-1], chances.shape[2]
    clinics = int(clinic_of_cell.max()) + 1
    count = steps[0].staying.shape[0]
    generator = streams.generator(COHORT, 1)
    # (2, C, 1, Q): one joint state at the start.
    held = generator.multinomial(cells, np.full(classes, 1.0 / classes))[:, :, None, :]
    staying = np.zeros((count, HALVES, clinics, len(steps), 3), np.int64)
    leaving = np.zeros((count, HALVES, clinics, len(steps), 3, 3), np.int64)
    for k, step in enumerate(steps):
        place = min(k, plateau - 1)
        seen = _statuses(held, chances[:, :, place], streams.generator(STATUS, k))
        stayed = seen
        if dropout:
            going = step.target >= 0  # (J, 3)
            left = streams.generator(DROPOUT, k).binomial(
                seen * going[None, None, :, None, :], dropout
            )
            stayed = seen - left
            lost = _by_clinic(left, clinic_of_cell, clinics)
            leaving[:, :, :, k, :, DROPPED] += _to(lost, step.staying)
        seen_by, stayed_by = (_by_clinic(one, clinic_of_cell, clinics) for one in (seen, stayed))
        staying[:, :, :, k] += _to(stayed_by, step.staying)
        # Strategies that end here keep those who drop out of the others.
        for reason in range(2):
            leaving[:, :, :, k, :, reason] += _to(seen_by, step.leaving[..., reason])
        held = _moved(stayed, step)
    return [CourseFlow(staying[s], leaving[s]) for s in range(count)]


def _statuses(held: Int, chances: FloatArray, generator: np.random.Generator) -> Int:
    """Split counts (2, C, J, Q) into statuses N, R, M; (2, C, J, Q, 3)."""
    best, some = chances[0][:, None, :], chances[1][:, None, :]
    responding = generator.binomial(held, np.broadcast_to(some, held.shape))
    share = np.clip(best / np.where(some > 0.0, some, 1.0), 0.0, 1.0)
    remitting = generator.binomial(responding, np.broadcast_to(share, held.shape))
    return np.stack([held - responding, responding - remitting, remitting], axis=-1)


def _by_clinic(counts: Int, clinic_of_cell: Int, clinics: int) -> Int:
    """Add up cells and classes: (2, C, J, Q, 3) to (2, G, J, 3)."""
    by_cell = counts.sum(axis=3)
    found = np.zeros((HALVES, clinics, *by_cell.shape[2:]), np.int64)
    for cell, clinic in enumerate(clinic_of_cell):
        found[:, clinic] += by_cell[:, cell]
    return found


def _to(counts: Int, marked: NDArray[np.bool_]) -> Int:
    """Sum counts (2, G, J, 3) over each strategy's marked (S, J, 3) moves; (S, 2, G, 3)."""
    result: Int = np.einsum("bgjl,sjl->sbgl", counts, marked.astype(np.int64))
    return result


def _moved(stayed: Int, step: JointStep) -> Int:
    """Carry counts to the next joint states, (2, C, J', Q)."""
    shape = stayed.shape
    found = np.zeros((shape[0], shape[1], max(step.size_after, 1), shape[3]), np.int64)
    for j, letter in zip(*np.nonzero(step.target >= 0), strict=True):
        found[:, :, step.target[j, letter]] += stayed[:, :, j, :, letter]
    return found
