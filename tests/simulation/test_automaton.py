"""Rules as automata: every history ends where the rules, read word for word, end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.clinical.artifact import Artifact
from ketacast.errors import InputError
from ketacast.simulation import simulate
from ketacast.simulation.automaton import (
    COMPLETED,
    GONE,
    STOPPED,
    Automaton,
    compile_strategy,
    join,
)
from ketacast.simulation.engines import make_plan
from ketacast.simulation.specification import Specification
from ketacast.simulation.strategies import Extend, Stop, Strategy

Build = Callable[..., Specification]


def by_the_words(strategy: Strategy, history: str) -> tuple[int, int]:
    """Infusion after which the course ends, and why."""
    for k in range(1, strategy.most_infusions + 1):
        so_far = history[:k]
        for stop in strategy.stop:
            if k == stop.after and set(so_far[-stop.none_in_last :]) == {"N"}:
                return k, STOPPED
        if k == strategy.most_infusions:
            return k, COMPLETED
        if k >= strategy.planned and (
            strategy.extend is None or so_far[-1] not in strategy.extend.letters
        ):
            return k, COMPLETED
    raise AssertionError


stops = st.lists(
    st.integers(1, 5).flatmap(lambda after: st.builds(Stop, st.just(after), st.integers(1, after))),
    max_size=3, unique_by=lambda stop: stop.after,
).map(tuple)  # fmt: skip
strategies = st.builds(
    lambda rules, extra, who: Strategy(
        "s", 6, stop=rules, extend=Extend(6 + extra, who) if extra else None
    ),
    stops,
    st.integers(0, 1),
    st.sampled_from(["no response", "response without remission", "not in remission"]),
)


@settings(max_examples=40, deadline=None)
@given(strategies, strategies)
def test_automata_end_courses_as_the_rules_say(one: Strategy, other: Strategy) -> None:
    automata = [compile_strategy(one), compile_strategy(other)]
    steps = join(automata)
    for letters in product(range(3), repeat=len(steps)):
        history = "".join("NRM"[letter] for letter in letters)
        joint = 0
        ended: dict[int, tuple[int, int]] = {}
        for k, (step, letter) in enumerate(zip(steps, letters, strict=True), 1):
            for s in range(2):
                for reason in (COMPLETED, STOPPED):
                    if step.leaving[s, joint, letter, reason]:
                        ended[s] = (k, reason)
            joint = int(step.target[joint, letter])
            if joint < 0:
                break
        for s, strategy in enumerate((one, other)):
            assert ended[s] == by_the_words(strategy, history)


def test_states_that_no_rule_tells_apart_are_one() -> None:
    strategy = Strategy("s", 8, stop=(Stop(3, 3),))
    steps = join([compile_strategy(strategy)])
    assert [step.target.shape[0] for step in steps] == [1, 2, 2, 1, 1, 1, 1, 1]


def in_words(automata: Sequence[Automaton]) -> list[tuple[list[list[int]], int]]:
    """Targets of the joint states, numbered one after the other as they first appear."""
    before = [tuple(one.start for one in automata)]
    steps = []
    for k in range(max(one.infusions for one in automata)):
        after: dict[tuple[int, ...], int] = {}
        target = []
        for state in before:
            row = []
            for letter in range(3):
                moves = [
                    GONE if local == GONE else int(one.moves[k, local, letter])
                    for one, local in zip(automata, state, strict=True)
                ]
                joint = tuple(max(move, GONE) for move in moves)
                gone = set(joint) == {GONE}
                row.append(-1 if gone else after.setdefault(joint, len(after)))
            target.append(row)
        steps.append((target, len(after)))
        before = list(after)
    return steps


@settings(max_examples=40, deadline=None)
@given(st.lists(strategies, min_size=1, max_size=7))
def test_joint_states_are_numbered_as_they_first_appear(some: list[Strategy]) -> None:
    automata = [compile_strategy(one) for one in some]
    for step, (target, size) in zip(join(automata), in_words(automata), strict=True):
        assert step.target.tolist() == target
        assert step.size_after == size


def many_stops(number: int, look: int) -> list[Automaton]:
    """As many strategies, each stopping after another infusion."""
    return [
        compile_strategy(Strategy(f"s{after}", 30, stop=(Stop(after, min(look, after)),)))
        for after in range(1, number + 1)
    ]


def test_too_many_joint_states_are_refused_at_once_with_advice_that_holds(
    artifact: Artifact, build: Build
) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=r"at most 2,000 here; .* engine = 'expected'"):
        join(many_stops(29, 1))
    assert time.process_time() - start < 0.5
    twelve = tuple(Strategy(f"s{k}", 13, stop=(Stop(k),)) for k in range(1, 13))
    with pytest.raises(InputError, match=r"after infusion 11 .* need 2,048 joint states"):
        make_plan(artifact, build(strategies=twelve))
    exact = simulate(build(strategies=twelve, engine="expected", draws=2))
    each = simulate(build(strategies=twelve, engine="individuals", draws=2, patients=20_000))
    apart = each.by_draw[..., 2] - exact.by_draw[..., 2]
    assert abs(apart).max() < 0.2
    hostile = tuple(
        Strategy(f"s{k}", 30, stop=tuple(Stop(after) for after in {1 + k % 29, 1 + k * k % 29}))
        for k in range(32)
    )
    start = time.process_time()
    with pytest.raises(InputError, match="carries at most 17,476 here"):
        make_plan(artifact, build(strategies=hostile, engine="individuals", horizon_weeks=26))
    assert time.process_time() - start < 0.5


def test_two_rules_after_one_infusion_are_refused() -> None:
    with pytest.raises(InputError, match="two stop rules after the same infusion"):
        Strategy("s", 6, stop=(Stop(3, 3), Stop(3, 1)))
