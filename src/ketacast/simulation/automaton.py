"""Strategies as finite automata over statuses, alone and together.

After each infusion a patient's status (N, R or M) moves the automaton to a new state or
out of the course. The only memory that the rules need is how many infusions in a row
went without a response, capped at the longest look-back. Together, several strategies
read the same statuses: their joint state is the tuple of their states, so that a patient
is compared with himself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.simulation.strategies import LETTERS, Strategy

Int = NDArray[np.int64]

COMPLETED: Final = 0
STOPPED: Final = 1
DROPPED: Final = 2
REASONS: Final = ("completed", "stopped", "dropped out")

GONE: Final = -1
"""Local state of a strategy that the patient has left."""

MOST_JOINT_STATES: Final = 2000
"""Of the engine of counts: beyond it a draw's counts no longer fit memory and time."""

MOST_LISTED_STATES: Final = 1 << 15
MOST_MOVES: Final = 1 << 24
"""Of the engine of individuals, which looks states up: at most so many, and so many moves
(states by strategies and infusions): some 400 MB of tables, made in half a second."""

_MOST_KEYS: Final = 1 << 62
"""Keys of joint states stay within 64 bits."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """One strategy's course.

    Attributes
    ----------
    states : int
        Local states: infusions in a row without a response, capped.
    start : int
        State before the first infusion.
    moves : (K, states, 3) int array
        Next state after infusion k and status N, R, M; ``-1 - reason`` out of the course.
    """

    states: int
    start: int
    moves: Int

    @property
    def infusions(self) -> int:
        """Infusions at most."""
        return int(self.moves.shape[0])


@dataclass(frozen=True, slots=True)
class JointStep:
    """One infusion of the joint automaton with J states before it and J' after it.

    Attributes
    ----------
    target : (J, 3) int array
        Joint state after it, by status; -1 if all strategies are left.
    staying : (S, J, 3) bool array
        Strategy s goes on.
    leaving : (S, J, 3, 2) bool array
        Strategy s is left, completed or stopped.
    size_after : int
        J'.
    """

    target: Int
    staying: NDArray[np.bool_]
    leaving: NDArray[np.bool_]
    size_after: int


def compile_strategy(strategy: Strategy) -> Automaton:
    """Make the automaton of a strategy's rules."""
    cap = max((stop.none_in_last for stop in strategy.stop), default=1)
    last, planned = strategy.most_infusions, strategy.planned
    stops = {stop.after: stop.none_in_last for stop in strategy.stop}
    going_on = strategy.extend.letters if strategy.extend else ""
    moves = np.empty((last, cap + 1, len(LETTERS)), np.int64)
    streaks = np.minimum(np.arange(cap + 1) + 1, cap)  # after one more without response
    for k in range(1, last + 1):
        ending = np.arange(cap + 1) >= stops.get(k, cap + 1)
        kept = np.array([_remembered(streak, k, stops) for streak in range(cap + 1)])
        for place, letter in enumerate(LETTERS):
            completed = k == last or (k >= planned and letter not in going_on)
            move = np.where(ending, -1 - STOPPED, -1 - COMPLETED if completed else kept)
            moves[k - 1, :, place] = move[streaks] if letter == "N" else move[0]
    return Automaton(cap + 1, 0, moves)


def _remembered(streak: int, k: int, stops: Mapping[int, int]) -> int:
    """Infusions in a row without response, as far as a later stop rule can still ask.

    States that no rule tells apart are one: fewer of them make every engine faster.
    """
    needed = (look - (after - k) for after, look in stops.items() if after > k)
    return max((one for one in needed if 0 < one <= streak), default=0)


def join(automata: Sequence[Automaton], most: int = MOST_JOINT_STATES) -> list[JointStep]:
    """Run several automata together on the same statuses.

    Parameters
    ----------
    automata : sequence of Automaton
    most : int
        Joint states after any infusion at most.

    Returns
    -------
    list of JointStep
        One for each infusion of the longest; the first has one state before it. States are
        numbered in the order in which they first appear.

    Raises
    ------
    InputError
        If the joint states are more than `most`.
    """
    before = np.array([[one.start for one in automata]], np.int64)  # (J, S)
    steps = []
    for k in range(max(one.infusions for one in automata)):
        after = np.full((len(before), len(LETTERS), len(automata)), GONE, np.int64)
        leaving = np.zeros((len(automata), len(before), len(LETTERS), 2), np.bool_)
        for s, one in enumerate(automata):
            held = np.flatnonzero(before[:, s] != GONE)
            if not held.size:
                continue
            move = one.moves[k, before[held, s]]  # (held, 3)
            after[held, :, s] = np.maximum(move, GONE)
            for reason in (COMPLETED, STOPPED):
                leaving[s, held, :, reason] = move == -1 - reason
        joint = after.reshape(-1, len(automata))
        going = np.flatnonzero((joint != GONE).any(axis=1))
        number, first = _numbered(joint[going])
        if first.size > most:
            raise InputError(
                f"after infusion {k + 1} the strategies' rules need {first.size:,} joint states, "
                f"of which this engine carries at most {most:,} here; run fewer strategies "
                "together, shorten their look-back (none_in_last), or use engine = 'expected', "
                "which runs each strategy by itself"
            )
        target = np.full(joint.shape[0], -1, np.int64)
        target[going] = number
        staying = np.moveaxis(after != GONE, -1, 0)
        steps.append(
            JointStep(target.reshape(-1, len(LETTERS)), np.ascontiguousarray(staying), leaving,
                      first.size)
        )  # fmt: skip
        before = joint[going[first]]
    return steps


def _numbered(rows: Int) -> tuple[Int, Int]:
    """Give equal rows one number, by first appearance: numbers of rows, first rows of numbers."""
    key = np.zeros(len(rows), np.int64)
    kinds = 1
    for column in (rows - GONE).T:
        base = int(column.max(initial=0)) + 1
        if kinds * base > _MOST_KEYS:
            _, key = np.unique(key, return_inverse=True)
            kinds = int(key.max(initial=0)) + 1
        key = key * base + column
        kinds *= base
    _, first, key = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(order.size)
    return number[key], first[order]
