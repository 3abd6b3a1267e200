"""What the engine of individuals looks up: one draw of a plan as plain arrays.

Probabilities of statuses become 32-bit thresholds that random words are compared with;
the share still in response becomes a falling table that a uniform number is looked up in.
Patients of a cell stand together, so that a cell's table stays in the first cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.simulation.aftercourse import LaterRules
from ketacast.simulation.automaton import JointStep

Int = NDArray[np.int64]
Small = NDArray[np.int32]
Words = NDArray[np.uint32]

WORDS: Final = 2.0**32


@dataclass(frozen=True, slots=True)
class CourseTables:
    """The course, C cells, K infusions, J joint states (the last: gone), S strategies.

    Attributes
    ----------
    cuts : (C, K, 2, Q) uint32 array
        A word below it: response; remission.
    target : (K, J, 3) int32 array
        Next joint state by status.
    leaves, stays : (K, S, J, 3) uint8 arrays
        Whether a strategy is left, or gone on with.
    dropout : int
        A word below it: does not come to the next infusion.
    shift : int
        Right shift that makes a class of a word.
    """

    cuts: Words
    target: Small
    leaves: NDArray[np.uint8]
    stays: NDArray[np.uint8]
    dropout: int
    shift: int


@dataclass(frozen=True, slots=True)
class LaterTables:
    """After the course; G clinics, E entries, O offsets, H weeks.

    Attributes
    ----------
    survival : (S, G, 3, O, H) float64 array
        Share still in response at the end of each week of age, by arm.
    offset, week : (S, E) int32 arrays
        Of each entry: index of its offset, week in which it starts.
    maintained : (S,) uint8 array
    remaining : (H + 1,) float64 array
        Share not having left maintenance after so many weeks.
    times, again_weeks : (S,) int32 arrays
        Re-inductions at most, weeks of one.
    success : (S,) uint32 array
        A word below it: success.
    """

    survival: FloatArray
    offset: Small
    week: Small
    maintained: NDArray[np.uint8]
    remaining: FloatArray
    times: Small
    again_weeks: Small
    success: Words


def thresholds(chance: FloatArray) -> Words:
    """32-bit thresholds of probabilities: off by 2**-32 at most."""
    return np.minimum(np.rint(chance * WORDS), WORDS - 1.0).astype(np.uint32)


def course_tables(
    steps: Sequence[JointStep], chances: FloatArray, dropout: float, *, longest: int
) -> CourseTables:
    """Tabulate the course of one draw.

    Parameters
    ----------
    steps : sequence of JointStep
    chances : (2, C, plateau, Q) float array
        Remission, response; from :func:`ketacast.simulation.classes.class_chances`.
    dropout : float
    longest : int
        K.
    """
    place = np.minimum(np.arange(longest), chances.shape[2] - 1)
    cuts = thresholds(np.moveaxis(chances[::-1, :, place], 0, 2))
    states = 1 + max(max(step.target.shape[0], step.size_after) for step in steps)
    gone = states - 1
    target = np.full((longest, states, 3), gone, np.int32)
    count = steps[0].staying.shape[0]
    leaves = np.zeros((longest, count, states, 3), np.uint8)
    stays = np.zeros_like(leaves)
    for k, step in enumerate(steps):
        size = step.target.shape[0]
        target[k, :size] = np.where(step.target >= 0, step.target, gone)
        leaves[k, :, :size] = step.leaving.any(axis=-1)
        stays[k, :, :size] = step.staying
    shift = 32 - int(chances.shape[-1]).bit_length() + 1
    return CourseTables(
        np.ascontiguousarray(cuts), target, leaves, stays, int(thresholds(np.array(dropout))), shift
    )


def later_tables(rules: Sequence[LaterRules], leave: float) -> LaterTables:
    """Tabulate what follows the course of one draw."""
    horizon = rules[0].horizon
    clinics = rules[0].tables.kept.shape[1]
    offsets = max(len(rule.entries.offsets) for rule in rules)
    entries = max(rule.entries.week.size for rule in rules)
    survival = np.zeros((len(rules), clinics, 3, offsets, horizon))
    offset = np.zeros((len(rules), entries), np.int32)
    week = np.full((len(rules), entries), horizon + 1, np.int32)
    again = [rule.strategy.reinduction for rule in rules]
    for s, rule in enumerate(rules):
        kept = rule.tables.kept[0]
        survival[s, :, :, : kept.shape[2]] = np.cumprod(kept, axis=-1)
        offset[s, : rule.entries.offset.size] = rule.entries.offset
        week[s, : rule.entries.week.size] = rule.entries.week
    return LaterTables(
        survival=survival,
        offset=offset,
        week=week,
        maintained=np.array([rule.strategy.maintenance is not None for rule in rules], np.uint8),
        remaining=np.power(1.0 - leave, np.arange(horizon + 1, dtype=np.float64)),
        times=np.array([one.times if one else 0 for one in again], np.int32),
        again_weeks=np.array([one.weeks if one else 1 for one in again], np.int32),
        success=thresholds(np.array([one.success if one else 0.0 for one in again])),
    )


def make_runs(cells: Int, clinic_of_cell: Int, low: int, high: int, longest: int) -> Int:
    """Cut patients `low` to `high` - 1 into runs of one half and cell.

    Parameters
    ----------
    cells : (2, C) int array
        Patients of each half and cell; they are numbered half after half, cell after cell.
    clinic_of_cell : (C,) int array
    low, high : int
    longest : int
        Patients of a run at most.

    Returns
    -------
    (R, 5) int array
        Half, clinic, cell, first patient, last patient + 1.
    """
    edges = np.concatenate([[0], np.cumsum(cells.ravel())])
    runs: list[tuple[int, int, int, int, int]] = []
    for place in range(cells.size):
        first, last = max(int(edges[place]), low), min(int(edges[place + 1]), high)
        half, cell = divmod(place, cells.shape[1])
        runs.extend(
            (half, int(clinic_of_cell[cell]), cell, at, min(at + longest, last))
            for at in range(first, last, longest)
        )
    return np.array(runs, np.int64).reshape(-1, 5)
