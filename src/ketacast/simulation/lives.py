"""The engine of individuals: every patient by himself, in NumPy or compiled.

Patients are numbered through the two halves of the cohort and its cells. Each reads
random words of his own, by his number: one for his class, one for each infusion, one for
each possible drop-out, and four for each time in response. Strategies read the same
words, so that a patient is compared with himself throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketacast.simulation.flows import CourseFlow, LaterFlow
from ketacast.simulation.philox import COURSE, EPISODE, LEAVING, patient_words, philox
from ketacast.simulation.tables import WORDS, CourseTables, LaterTables

Int = NDArray[np.int64]
Numbers = NDArray[Any]

GONE_CODE = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of patients, whole numbers, so that no order of adding changes them.

    Attributes
    ----------
    seen : (2, G, K, J, 3, 2) int array
        After infusion k: joint state before it, status, and whether the patient drops out.
    kept : (2, G, S, E, 2, 2, H + 1) int array
        Changes, from week to week, of those in response by status and care.
    lost : (2, G, S, E, 2, 2, H) int array
    begun : (2, G, S, H) int array
    """

    seen: Int
    kept: Int
    lost: Int
    begun: Int


@dataclass(frozen=True, slots=True)
class Histories:
    """What happened to each patient, n of them in the order of their numbers.

    Attributes
    ----------
    statuses : (n, K) uint8 array
        Status after each infusion had all been given: 0 N, 1 R, 2 M.
    codes : (S, n) int32 array
        How each strategy's course was left in response: ``2 k + status + 1``, negative
        after a drop-out; 0 without a response.
    weekly : (n, S, H) uint8 array
        1 where in response after the course at the week's end.
    """

    statuses: NDArray[np.uint8]
    codes: NDArray[np.int32]
    weekly: NDArray[np.uint8]


def empty_tally(course: CourseTables, later: LaterTables, pieces: int = 0) -> Tally:
    """Make an empty tally, or (`pieces` > 0) several in one, along a leading axis."""
    longest, strategies, states, _ = course.leaves.shape
    clinics, horizon = later.survival.shape[1], later.survival.shape[4]
    entries = later.offset.shape[1]
    lead = (pieces,) if pieces else ()

    def zeros(*shape: int) -> Int:
        return np.zeros((*lead, 2, clinics, *shape), np.int64)

    return Tally(
        zeros(longest, states, 3, 2),
        zeros(strategies, entries, 2, 2, horizon + 1),
        zeros(strategies, entries, 2, 2, horizon),
        zeros(strategies, horizon),
    )


def empty_histories(course: CourseTables, later: LaterTables, patients: int) -> Histories:
    """Make histories of some patients, to be filled."""
    longest, strategies, _, _ = course.leaves.shape
    return Histories(
        np.zeros((patients, longest), np.uint8),
        np.zeros((strategies, patients), np.int32),
        np.zeros((patients, strategies, later.survival.shape[4]), np.uint8),
    )


def simulate_numpy(
    runs: Int,
    course: CourseTables,
    later: LaterTables,
    key: tuple[int, int],
    histories: Histories | None = None,
) -> Tally:
    """Simulate runs of patients with NumPy alone: the same counts as the kernel's.

    Parameters
    ----------
    runs : (R, 5) int array
        From :func:`ketacast.simulation.tables.make_runs`.
    course, later : CourseTables, LaterTables
    key : (int, int)
        Seed and draw.
    histories : Histories, optional
        Filled in; the runs' patients are then numbered from the first run's first.
    """
    tally = empty_tally(course, later)
    start = int(runs[0, 3]) if runs.size else 0
    for half, clinic, cell, low, high in runs.tolist():
        own = slice(low - start, high - start)
        seen = tally.seen[half, clinic]
        statuses, codes = _courses(course, cell, (low, high), key, seen)
        part = None
        if histories is not None:
            histories.statuses[own], histories.codes[:, own] = statuses, codes
            part = histories.weekly[own]
        words = patient_words(low, high, EPISODE, key)
        for s in range(codes.shape[0]):
            place = np.flatnonzero(codes[s])
            counts = tuple(
                array[half, clinic, s] for array in (tally.kept, tally.lost, tally.begun)
            )
            _Followed(later, s, clinic, key, counts).run(
                low + place, codes[s, place], words[place], part, place
            )
    return tally


def _courses(
    course: CourseTables, cell: int, patients: tuple[int, int], key: tuple[int, int], seen: Int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Statuses (n, K) and exits (S, n) of patients of one cell; counts into `seen`."""
    low, high = patients
    longest, strategies, states, _ = course.leaves.shape
    kind = patient_words(low, high, 0, key)[:, 0] >> np.uint32(course.shift)
    state = np.zeros(high - low, np.int64)
    codes = np.zeros((strategies, high - low), np.int32)
    statuses = np.zeros((high - low, longest), np.uint8)
    words = drops = np.empty((0, 4), np.uint32)
    for k in range(longest):
        if k % 4 == 0:
            words = patient_words(low, high, COURSE + k // 4, key)
            if course.dropout:
                drops = patient_words(low, high, LEAVING + k // 4, key)
        own = words[:, k % 4]
        letter = (own < course.cuts[cell, k, 0][kind]).astype(np.int64)
        letter += own < course.cuts[cell, k, 1][kind]
        statuses[:, k] = letter
        after = course.target[k, state, letter]
        drop = np.zeros(high - low, np.bool_)
        if course.dropout:
            drop = (after != states - 1) & (drops[:, k % 4] < course.dropout)
        flat = ((state * 3 + letter) * 2 + drop).astype(np.int64)
        seen[k] += np.bincount(flat, minlength=states * 6).reshape(states, 3, 2)
        code = (2 * k + letter + 1) * (letter > 0)
        for s in range(strategies):
            left = course.leaves[k, s, state, letter] > 0
            codes[s, left] = code[left]
            gone = drop & (course.stays[k, s, state, letter] > 0)
            codes[s, gone] = -code[gone]
        state = np.where(drop, states - 1, after).astype(np.int64)
    return statuses, codes


@dataclass(frozen=True, slots=True)
class _Followed:
    """Responders of one strategy and clinic, from the course's end to the horizon."""

    later: LaterTables
    strategy: int
    clinic: int
    key: tuple[int, int]
    counts: tuple[Int, ...]

    def run(
        self,
        patients: Int,
        codes: NDArray[np.int32],
        words: NDArray[np.uint32],
        weekly: NDArray[np.uint8] | None,
        place: Int,
    ) -> None:
        """Follow patients through all their times in response."""
        later, s = self.later, self.strategy
        horizon = later.survival.shape[4]
        care = (codes > 0).astype(np.int64)
        entry, letter = np.divmod(np.abs(codes).astype(np.int64) - 2, 2)
        left = later.times[s] * care
        episode = 0
        while patients.size:
            first = later.week[s, entry].astype(np.int64)
            available = horizon - first + 1
            inside = available > 0
            age, cared, care_at_loss = self._ages(entry, letter, care, words, available)
            self._count(inside, first=first, entry=entry, letter=letter, cared=cared, age=age)
            if weekly is not None:
                weeks = np.arange(horizon)
                among = (weeks >= first[:, None] - 1) & (weeks < (first - 1 + age)[:, None])
                weekly[place, s] |= among & inside[:, None]
            relapsing = inside & (age < available)
            _, lost, begun = self.counts
            at = first - 1 + age
            np.add.at(
                lost,
                tuple(one[relapsing] for one in (entry, letter, care_at_loss, at)),
                1,
            )
            again = relapsing & (care_at_loss > 0) & (left > 0)
            np.add.at(begun, at[again], 1)
            ready = first + age + later.again_weeks[s]
            well = again & (ready < horizon) & (words[:, 3] < later.success[s])
            patients, place, left = patients[well], place[well], left[well] - 1
            letter, care = letter[well], np.ones(int(well.sum()), np.int64)
            entry = later.offset.shape[1] - horizon + ready[well] - 1
            episode += 1
            words = _words_of(patients, EPISODE + episode, self.key)

    def _ages(
        self, entry: Int, letter: Int, care: Int, words: NDArray[np.uint32], available: Int
    ) -> tuple[Int, Int, Int]:
        """Whole weeks in response, those of them in care, and care when it is lost."""
        later, s = self.later, self.strategy
        uniform = (words[:, :3] + 0.5) / WORDS
        maintained = (care > 0) & bool(later.maintained[s])
        table = later.survival[s, self.clinic]
        offset = later.offset[s, entry]
        own = table[np.where(maintained, 1 + letter, 0), offset]
        weeks = np.arange(own.shape[1])
        open_weeks = weeks < available[:, None]
        age = ((own > uniform[:, :1]) & open_weeks).sum(axis=1)
        never = own.shape[1] + 1
        stay = np.full(age.shape, never)
        if later.remaining[1] < 1.0:
            stays = 1 + (later.remaining[1:] > uniform[:, 1:2]).sum(axis=1)
            stay = np.where(maintained & (stays <= own.shape[1]), stays, never)
            leaves = np.flatnonzero(stay <= age)
            base = table[0, offset[leaves]]
            value = uniform[leaves, 2] * base[np.arange(leaves.size), stay[leaves] - 1]
            beyond = (base > value[:, None]) & open_weeks[leaves] & (weeks >= stay[leaves, None])
            age[leaves] = stay[leaves] + beyond.sum(axis=1)
        cared = np.where(care > 0, np.minimum(age, stay - 1), 0)
        return age, cared, care * (age < stay)

    def _count(
        self,
        inside: NDArray[np.bool_],
        *,
        first: Int,
        entry: Int,
        letter: Int,
        cared: Int,
        age: Int,
    ) -> None:
        kept = self.counts[0]
        start = first[inside] - 1
        who = (entry[inside], letter[inside])
        one, zero = np.ones(start.size, np.int64), np.zeros(start.size, np.int64)
        np.add.at(kept, (*who, one, start), 1)
        np.add.at(kept, (*who, one, start + cared[inside]), -1)
        np.add.at(kept, (*who, zero, start + cared[inside]), 1)
        np.add.at(kept, (*who, zero, start + age[inside]), -1)


def _words_of(patients: Int, block: int, key: tuple[int, int]) -> NDArray[np.uint32]:
    counter = np.zeros((patients.size, 4), np.uint32)
    counter[:, 0] = (patients & 0xFFFFFFFF).astype(np.uint32)
    counter[:, 1] = (patients >> 32).astype(np.uint32)
    counter[:, 2] = block
    return philox(counter, key)


def flows_of(
    tally: Tally, staying: Numbers, leaving: Numbers
) -> tuple[list[CourseFlow], list[LaterFlow]]:
    """Turn a tally into each strategy's flows.

    Parameters
    ----------
    tally : Tally
    staying : (S, K, J, 3) bool array
        Whether a strategy goes on, by infusion, joint state and status.
    leaving : (S, K, J, 3, 2) bool array
        Whether it is left, completed or stopped.
    """
    courses, laters = [], []
    all_seen, dropped = tally.seen.sum(axis=-1), tally.seen[..., 1]
    kept = np.cumsum(tally.kept, axis=-1)[..., :-1]
    for s in range(staying.shape[0]):
        stay, leave = staying[s].astype(np.int64), leaving[s].astype(np.int64)
        left = np.einsum("bgkjl,kjlr->bgklr", all_seen, leave)
        drop = np.einsum("bgkjl,kjl->bgkl", dropped, stay)
        go_on = np.einsum("bgkjl,kjl->bgkl", all_seen - dropped, stay)
        courses.append(CourseFlow(go_on, np.concatenate([left, drop[..., None]], axis=-1)))
        laters.append(
            LaterFlow(
                np.moveaxis(kept[:, :, s], -1, 2),
                np.moveaxis(tally.lost[:, :, s], -1, 2),
                tally.begun[:, :, s],
            )
        )
    return courses, laters
