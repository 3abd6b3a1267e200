"""Individuals compiled: courses of a run of patients, and their time in response.

Arrays are taken apart once for each block of patients, never for each patient: an array
that changes hands costs more than the arithmetic on it.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from ketacast.simulation.kernel.words import fill, one_block
from ketacast.simulation.philox import COURSE, EPISODE, LEAVING

BLOCK = 2048
"""Patients at a time: their words, states and exits stay in the first two caches."""

SCALE = 2.0**-32


@njit(cache=True, nogil=True)
def _draw_course(first, count, cuts, shift, key, words, kind, letters):  # type: ignore[no-untyped-def]
    """Statuses of a block of patients after every infusion, branch-free."""
    fill(first, count, 0, key, words)
    own = words[0]
    for i in range(count):
        kind[i] = own[i] >> shift
    for k in range(cuts.shape[0]):
        if k % 4 == 0:
            fill(first, count, COURSE + k // 4, key, words)
        some, best, own, letter = cuts[k, 0], cuts[k, 1], words[k % 4], letters[k]
        for i in range(count):
            q = kind[i]
            letter[i] = np.uint8(own[i] < some[q]) + np.uint8(own[i] < best[q])


@njit(cache=True, nogil=True)
def _count_step(count, letter, state, target, parts, seen):  # type: ignore[no-untyped-def]
    """Move the joint states of a block on by one infusion, and count.

    Counts go to four places in turn: adding to one place again and again would wait for
    the addition before.
    """
    states = target.shape[0]
    after = target.reshape(3 * states)
    first, second, third, fourth = parts[0], parts[1], parts[2], parts[3]
    parts[:, : 3 * states] = 0
    whole = count - count % 4
    for i in range(0, whole, 4):
        a = state[i] * np.int32(3) + np.int32(letter[i])
        b = state[i + 1] * np.int32(3) + np.int32(letter[i + 1])
        c = state[i + 2] * np.int32(3) + np.int32(letter[i + 2])
        d = state[i + 3] * np.int32(3) + np.int32(letter[i + 3])
        first[a] += 1
        second[b] += 1
        third[c] += 1
        fourth[d] += 1
        state[i] = after[a]
        state[i + 1] = after[b]
        state[i + 2] = after[c]
        state[i + 3] = after[d]
    for i in range(whole, count):
        a = state[i] * np.int32(3) + np.int32(letter[i])
        first[a] += 1
        state[i] = after[a]
    for own in range(states):
        for one in range(3):
            place = 3 * own + one
            seen[own, one, 0] += first[place] + second[place] + third[place] + fourth[place]


@njit(cache=True, nogil=True)
def _leave(k, count, letter, state, marked, exits):  # type: ignore[no-untyped-def]
    """Note who leaves a strategy after infusion k, and in response or not."""
    for i in range(count):
        one = np.int32(letter[i])
        code = (2 * k + one + 1) * np.int32(one > 0)
        exits[i] = code if marked[state[i], one] else exits[i]


@njit(cache=True, nogil=True)
def _drop(k, count, letter, state, target, stays, drops, dropout, seen, exits):  # type: ignore[no-untyped-def]
    """One infusion with drop-outs: they leave every strategy that would go on."""
    gone = target.shape[0] - 1
    for i in range(count):
        own, one = state[i], letter[i]
        after = target[own, one]
        if after != gone and drops[i] < dropout:
            seen[own, one, 1] += 1
            state[i] = gone
            for s in range(stays.shape[0]):
                if stays[s, own, one]:
                    exits[s, i] = -(2 * k + np.int32(one) + 1) * np.int32(one > 0)
        else:
            seen[own, one, 0] += 1
            state[i] = after


@njit(cache=True, nogil=True)
def _course(first, count, cell, tables, key, seen, work, exits):  # type: ignore[no-untyped-def]
    """Courses of a block; `exits` gets each strategy's entry, 0 without a response."""
    cuts, target, leaves, stays, dropout, shift = tables
    words, drops, kind, state, letters, parts = work
    _draw_course(first, count, cuts[cell], shift, key, words, kind, letters)
    state[:count] = 0
    exits[:, :count] = 0
    for k in range(leaves.shape[0]):
        for s in range(leaves.shape[1]):
            if leaves[k, s].any():
                _leave(k, count, letters[k], state, leaves[k, s], exits[s])
        if dropout:
            if k % 4 == 0:
                fill(first, count, LEAVING + k // 4, key, drops)
            _drop(k, count, letters[k], state, target[k], stays[k], drops[k % 4], dropout,
                  seen[k], exits)  # fmt: skip
        else:
            _count_step(count, letters[k], state, target[k], parts, seen[k])


@njit(inline="always")
def _weeks_above(survival, arm, place, available, value):  # type: ignore[no-untyped-def]
    """Weeks at whose end the falling share still in response is above a value.

    All are compared: that vectorises, where a search would guess its branches wrong.
    """
    age = 0
    for w in range(available):
        age += survival[arm, place, w] > value
    return age


@njit(inline="always")
def _first_not_above(table, start, end, value):  # type: ignore[no-untyped-def]
    """First place from `start` on at which a table is not above a value; `end` if none."""
    at = start
    while at < end and table[at] > value:
        at += 1
    return at


@njit(inline="always")
def _record(kept, entry, letter, first, cared, age):  # type: ignore[no-untyped-def]
    """Note weeks in response: the first `cared` in care, the others up to `age` not."""
    kept[entry, letter, 1, first] += 1
    kept[entry, letter, 1, first + cared] -= 1
    kept[entry, letter, 0, first + cared] += 1
    kept[entry, letter, 0, first + age] -= 1


@njit(inline="always")
def _listed(codes, count, chosen):  # type: ignore[no-untyped-def]
    """List who has a code, without a branch, which half of the time would be missed."""
    size = 0
    for i in range(count):
        chosen[size] = i
        size += codes[i] != 0
    return size


@njit(cache=True, nogil=True)
def _follow(at, count, codes, words, s, survival, later, key, kept, lost, begun, weekly):  # type: ignore[no-untyped-def]
    """Follow the responders of a block from the course's end to the horizon."""
    offset, week, maintained, remaining, times, again_weeks, success = later
    offset, week, is_maintained = offset[s], week[s], maintained[s]
    horizon, course = survival.shape[2], offset.shape[0]
    may_leave = is_maintained and remaining[1] < 1.0
    chosen = np.empty(BLOCK, np.int32)
    for j in range(_listed(codes, count, chosen)):
        i = chosen[j]
        care = 1 if codes[i] > 0 else 0
        entry, letter = (abs(codes[i]) - 2) >> 1, abs(codes[i]) & 1
        left, episode = times[s] * care, 0
        u0, u1, u2, u3 = words[0, i], words[1, i], words[2, i], words[3, i]
        while week[entry] <= horizon:
            first, place = week[entry] - 1, offset[entry]
            available, stay = horizon - first, horizon + 1
            arm = (1 + letter) * care * is_maintained
            age = _weeks_above(survival, arm, place, available, (u0 + 0.5) * SCALE)
            if care and may_leave:
                stay = _first_not_above(remaining, 1, horizon + 1, (u1 + 0.5) * SCALE)
                if stay <= age:
                    # Leaves maintenance at the end of week `stay`, still in response.
                    value = (u2 + 0.5) * SCALE * survival[0, place, stay - 1]
                    age = _first_not_above(survival[0, place], stay, available, value)
            _record(kept, entry, letter, first, min(age, stay - 1) * care, age)
            if weekly.shape[0]:
                weekly[i, s, first : first + age] = 1
            if age >= available:
                break
            care *= age < stay
            lost[entry, letter, care, first + age] += 1
            if not care or left == 0:
                break
            left -= 1
            begun[first + age] += 1
            ready = first + 1 + age + again_weeks[s]
            if ready >= horizon or u3 >= success[s]:
                break
            entry = course - horizon + ready - 1
            episode += 1
            u0, u1, u2, u3 = one_block(at + i, EPISODE + episode, key)


@njit(cache=True, nogil=True)
def _run(run, tables, survival, later, key, counts, statuses, codes, weekly):  # type: ignore[no-untyped-def]
    """Simulate one run of patients of a half and cell."""
    half, clinic, cell, low, high = run[0], run[1], run[2], run[3], run[4]
    seen, kept, lost, begun = counts
    longest, strategies = tables[2].shape[0], tables[2].shape[1]
    words = np.empty((4, BLOCK), np.uint32)
    letters = np.empty((longest, BLOCK), np.uint8)
    work = (
        words, np.empty((4, BLOCK), np.uint32), np.empty(BLOCK, np.uint32),
        np.empty(BLOCK, np.int32), letters, np.empty((4, 3 * tables[1].shape[1]), np.int32),
    )  # fmt: skip
    exits = np.empty((strategies, BLOCK), np.int32)
    asked = statuses.shape[0] > 0
    at = low
    while at < high:
        # A block never crosses a multiple of 2**32, where the counter's next word changes.
        count = min(BLOCK, high - at, (((at >> 32) + 1) << 32) - at)
        base = at - low
        _course(at, count, cell, tables, key, seen[half, clinic], work, exits)
        fill(at, count, EPISODE, key, words)
        for s in range(strategies):
            _follow(at, count, exits[s], words, s, survival[s, clinic], later, key,
                    kept[half, clinic, s], lost[half, clinic, s], begun[half, clinic, s],
                    weekly[base : base + count] if asked else weekly)  # fmt: skip
        if asked:
            for i in range(count):
                for k in range(longest):
                    statuses[base + i, k] = letters[k, i]
                for s in range(strategies):
                    codes[s, base + i] = exits[s, i]
        at += count


@njit(cache=True, nogil=True)
def simulate(runs, tables, survival, later, key, counts, statuses, codes, weekly):  # type: ignore[no-untyped-def]
    """Simulate runs one after the other."""
    seen, kept, lost, begun = counts
    own = (seen[0], kept[0], lost[0], begun[0])
    for r in range(runs.shape[0]):
        _run(runs[r], tables, survival, later, key, own, statuses, codes, weekly)


@njit(cache=True, parallel=True)
def simulate_parallel(runs, tables, survival, later, key, counts):  # type: ignore[no-untyped-def]
    """Simulate runs on several threads, each with numbers of its own."""
    seen, kept, lost, begun = counts
    pieces = seen.shape[0]
    for piece in prange(pieces):
        statuses = np.empty((0, 0), np.uint8)
        codes = np.empty((0, 0), np.int32)
        weekly = np.empty((0, 0, 0), np.uint8)
        own = (seen[piece], kept[piece], lost[piece], begun[piece])
        for r in range(piece, runs.shape[0], pieces):
            _run(runs[r], tables, survival, later, key, own, statuses, codes, weekly)
