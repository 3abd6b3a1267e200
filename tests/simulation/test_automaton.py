"""Rules as automata: every history ends where the rules, read word for word, end it."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.simulation.automaton import COMPLETED, STOPPED, compile_strategy, join
from ketacast.simulation.strategies import Extend, Stop, Strategy


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
