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
"""Beyond it the counts of a draw would no longer fit the memory and time of the engine."""


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
    if len(stops) < len(strategy.stop):
        raise InputError(
            f"strategy {strategy.name!r} has two stop rules after the same infusion; "
            "keep the one with the shorter look-back"
        )
    going_on = strategy.extend.letters if strategy.extend else ""
    moves = np.empty((last, cap + 1, len(LETTERS)), np.int64)
    for k in range(1, last + 1):
        for state in range(cap + 1):
            for place, letter in enumerate(LETTERS):
                after = min(state + 1, cap) if letter == "N" else 0
                if k in stops and after >= stops[k]:
                    move = -1 - STOPPED
                elif k == last or (k >= planned and letter not in going_on):
                    move = -1 - COMPLETED
                else:
                    move = _remembered(after, k, stops)
                moves[k - 1, state, place] = move
    return Automaton(cap + 1, 0, moves)


def _remembered(streak: int, k: int, stops: Mapping[int, int]) -> int:
    """Infusions in a row without response, as far as a later stop rule can still ask.

    States that no rule tells apart are one: fewer of them make every engine faster.
    """
    needed = (look - (after - k) for after, look in stops.items() if after > k)
    return max((one for one in needed if 0 < one <= streak), default=0)


def join(automata: Sequence[Automaton]) -> list[JointStep]:
    """Run several automata together on the same statuses.

    Returns
    -------
    list of JointStep
        One for each infusion of the longest; the first has one state before it.

    Raises
    ------
    InputError
        If the joint states are more than :data:`MOST_JOINT_STATES`.
    """
    count = len(automata)
    before: list[tuple[int, ...]] = [tuple(one.start for one in automata)]
    steps = []
    for k in range(max(one.infusions for one in automata)):
        size = len(before)
        target = np.full((size, 3), -1, np.int64)
        staying = np.zeros((count, size, 3), np.bool_)
        leaving = np.zeros((count, size, 3, 2), np.bool_)
        after: dict[tuple[int, ...], int] = {}
        for j, state in enumerate(before):
            for letter in range(3):
                joint = []
                for s, (one, local) in enumerate(zip(automata, state, strict=True)):
                    move = GONE if local == GONE else int(one.moves[k, local, letter])
                    staying[s, j, letter] = move >= 0
                    if local != GONE and move < 0:
                        leaving[s, j, letter, -1 - move] = True
                    joint.append(move if move >= 0 else GONE)
                if any(move != GONE for move in joint):
                    target[j, letter] = after.setdefault(tuple(joint), len(after))
        if len(after) > MOST_JOINT_STATES:
            raise InputError(
                f"after infusion {k + 1} the strategies' rules need {len(after)} joint states, the "
                f"engine 'counts' carries at most {MOST_JOINT_STATES}; run fewer strategies "
                "together, shorten their look-back (none_in_last), or use engine = 'individuals'"
            )
        steps.append(JointStep(target, staying, leaving, len(after)))
        before = list(after)
    return steps
