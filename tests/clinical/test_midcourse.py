"""Mid-course answers: equal to the prediction without statuses, ordered with them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.dynamics import halved_logit
from ketacast.clinical.midcourse import (
    Condition,
    MidcourseRates,
    effective_size,
    midcourse_rates,
    summarise_weighted,
    weighted_quantiles,
)
from ketacast.clinical.rates import clinic_rates, components, mixture_rates, quantiles, summarise
from ketacast.errors import InputError
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.propensity import condition_on_history
from ketacast.numerics.propensity_decay import condition_with_decay

Array = NDArray[np.float64]
MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"
ARTIFACT = load_artifact(MODEL)
DRAWS, CODING = load_draws(ARTIFACT), coding_of(ARTIFACT)
LEVELS = (0.8, 0.95)

#: MODEL: numbers printed to two decimals and introduced by "about".
ORIENTATION = 0.015
#: Two quadratures, each good to 1e-6.
ORDER = 2e-6
#: Sums in another order.
ROUNDING = 1e-12
#: Seconds: twenty times the target, so that a busy machine does not fail it.
FAR_TOO_SLOW = 1.0


def even_propensity() -> Array:
    """Quantiles of a new clinic's w, close to the fit (logit-normal), evenly mixed."""
    n = DRAWS.beta.shape[0]
    place = (np.arange(1, n + 1) * 0.6180339887498949) % 1.0
    result: Array = special.expit(1.12 + 1.9 * special.ndtri(place))
    return result


W = even_propensity()


def ask(
    history: str,
    planned: int = 6,
    *,
    trials: tuple[int, ...] = (6,),
    rater: str = "unknown",
    w: Array = W,
    condition: Condition = condition_on_history,
) -> MidcourseRates:
    return midcourse_rates(
        DRAWS, w, CODING, mixture=components(trials, rater), history=history, planned=planned,
        levels=LEVELS, condition=condition,
    )  # fmt: skip


@pytest.mark.parametrize("history", ["", "?", "???", "????????"])
@pytest.mark.parametrize(("trials", "rater"), [((6,), "unknown"), ((2, 3, 4), "self")])
def test_without_a_status_the_prediction_stays(
    history: str, trials: tuple[int, ...], rater: str
) -> None:
    found = ask(history, trials=trials, rater=rater)
    for infusion in range(len(history) + 1, 31):
        average, new = mixture_rates(DRAWS, CODING, components(trials, rater), infusion)
        response, remission = found.at(infusion)
        assert list(response) == summarise(average.response, new.response, LEVELS)
        assert list(remission) == summarise(average.remission, new.remission, LEVELS)
    assert found.new_effective == DRAWS.beta.shape[0] * len(components(trials, rater))
    assert found.average_effective == DRAWS.beta.shape[0]


def test_unknown_statuses_at_the_end_change_nothing() -> None:
    known, later = ask("NR"), ask("NR??")
    assert later.response == known.response[2:]
    assert later.remission == known.remission[2:]


def test_orientation_of_the_model() -> None:
    expected = {"": 0.50, "N": 0.36, "NNN": 0.23}
    for history, value in expected.items():
        assert ask(history).at(6)[0][0] == pytest.approx(value, abs=ORIENTATION)


def test_weights_are_the_likelihood_of_the_history() -> None:
    """Bayes by hand for one known status and one component."""
    found = ask("?N", rater="self").at(6)[0]
    rates = [clinic_rates(DRAWS, CODING, 6, k, "self", new_clinic=True) for k in range(1, 9)]
    p = np.stack([one.response for one in rates], axis=1)
    q = np.stack([one.remission for one in rates], axis=1)
    one = condition_on_history(W, p, q, "?N")
    weight = 1.0 - p[:, 1]
    assert found[0] == pytest.approx(weight @ one.response[:, 3] / weight.sum(), abs=1e-6)


def test_the_law_of_total_probability() -> None:
    """Conditional chances, weighted by the statuses' probabilities, give the prediction."""
    before = ask("", rater="clinician").at(6)
    _, first = mixture_rates(DRAWS, CODING, components([6], "clinician"), 1)
    mass = {
        "N": 1 - first.response.mean(),
        "R": (first.response - first.remission).mean(),
        "M": first.remission.mean(),
    }
    for outcome in (0, 1):
        total = sum(mass[s] * ask(s, rater="clinician").at(6)[outcome][0] for s in mass)
        assert total == pytest.approx(before[outcome][0], abs=ORDER)


def test_statuses_are_ordered() -> None:
    for start in ("", "N", "R", "NR"):
        chances = {s: ask(start + s) for s in "NRM?"}
        for infusion in range(len(start) + 2, 9):
            response = {s: one.at(infusion)[0][0] for s, one in chances.items()}
            remission = {s: one.at(infusion)[1][0] for s, one in chances.items()}
            assert response["N"] <= response["R"] <= response["M"]
            assert response["N"] <= response["?"] <= response["M"]
            assert remission["N"] <= remission["R"] <= remission["M"]
    ladder = [ask("N" * k).at(9)[0][0] for k in range(9)]
    assert (np.diff(ladder) < 0).all()


histories = st.text("NRM?", max_size=12)


@settings(max_examples=15, deadline=None)
@given(history=histories, rater=st.sampled_from(["self", "clinician", "unknown"]))
def test_answers_are_probabilities_in_order(history: str, rater: str) -> None:
    found = ask(history, rater=rater)
    levels = len(LEVELS)
    for response, remission in zip(found.response, found.remission, strict=True):
        for cell in (response, remission):
            assert min(cell) >= 0.0
            assert max(cell) <= 1.0
            bounds = np.array(cell[2:]).reshape(2, levels, 2)
            assert (bounds[:, :, 0] <= bounds[:, :, 1]).all()
            assert (bounds[1, :, 0] <= bounds[0, :, 0]).all()
            assert (bounds[1, :, 1] >= bounds[0, :, 1]).all()
        assert remission[0] <= response[0]
        assert remission[1] <= response[1]
    assert 1.0 <= found.new_effective <= 2 * DRAWS.beta.shape[0] + ROUNDING
    assert 1.0 <= found.average_effective <= DRAWS.beta.shape[0] + 1e-6


def test_beyond_the_plateau_chances_stay() -> None:
    found = ask("NN", planned=12)
    assert len(found.response) == 6
    assert found.at(8) == found.at(12) == found.at(30)
    assert list(found.remaining) == list(range(3, 13))
    assert list(found.extended) == list(range(13, 31))
    late = ask("N" * 12, planned=10)
    assert late.first == 13
    assert len(late.remaining) == 0
    assert list(late.extended) == list(range(13, 31))
    assert late.at(13) == late.at(30)
    for infusion in (12, 31):
        with pytest.raises(InputError, match="infusion"):
            late.at(infusion)


@pytest.mark.parametrize(
    ("history", "planned", "message"),
    [("NX", 6, "'NX'"), ("N" * 30, 30, "30 letters"), ("N", 0, "planned"), ("N", 31, "planned")],
)
def test_unusable_requests_are_refused(history: str, planned: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(history, planned)


def test_a_history_that_cannot_be_is_refused() -> None:
    few = EqualDraws(DRAWS.beta[:4], DRAWS.tau[:4], DRAWS.scores[:4])
    with pytest.raises(InputError, match="probability 0"):
        midcourse_rates(
            few, np.full(4, 0.9999), CODING, mixture=[(6, "self")], history="MN" * 6, planned=20,
            levels=LEVELS,
        )  # fmt: skip


def test_sensitivity_weaker_ties_move_the_answer_back() -> None:
    start = ask("").at(6)[0][0]
    base = ask("NNN").at(6)[0][0]
    halved = ask("NNN", w=halved_logit(W)).at(6)[0][0]
    drifting = [
        ask("NNN", condition=partial(condition_with_decay, decay=decay)).at(6)[0][0]
        for decay in (0.25, 1.0)
    ]
    assert base < halved < start
    assert base < drifting[0] < drifting[1] < start


def test_fast_enough() -> None:
    ask("N")
    best = min(_seconds("NNN") for _ in range(3))
    assert best < FAR_TOO_SLOW


def _seconds(history: str) -> float:
    start = time.perf_counter()
    ask(history)
    return time.perf_counter() - start


values = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=40)
distinct = st.lists(st.integers(0, 1000), min_size=2, max_size=40, unique=True)
probabilities = np.array([0.0, 0.025, 0.1, 0.5, 0.9, 0.975, 1.0])


@given(values=values, weight=st.floats(0.01, 100.0))
def test_equal_weights_give_type_seven_exactly(values: list[float], weight: float) -> None:
    x = np.array(values)
    found = weighted_quantiles(x, np.full(x.size, weight), probabilities)
    np.testing.assert_array_equal(found, quantiles(x, probabilities))
    same = summarise_weighted(x, x, np.full(x.size, weight), np.full(x.size, weight), LEVELS)
    assert same == summarise(x, x, LEVELS)


@given(values=distinct, data=st.data())
def test_weighted_quantiles(values: list[int], data: st.DataObject) -> None:
    x = np.array(values) / 1000
    raw = data.draw(st.lists(st.floats(0.001, 1.0), min_size=x.size, max_size=x.size))
    weight = np.array(raw)
    found = weighted_quantiles(x, weight, probabilities)
    assert found[0] == x.min()
    assert found[-1] == x.max()
    assert (np.diff(found) >= -ROUNDING).all()
    scaled = weighted_quantiles(x, 7.0 * weight, probabilities)
    np.testing.assert_allclose(scaled, found, atol=1e-9)
    turned = 1.0 - weighted_quantiles(1.0 - x, weight, 1.0 - probabilities)
    np.testing.assert_allclose(turned, found, atol=1e-9)
    absent = weighted_quantiles(np.append(x, 5.0), np.append(weight, 0.0), probabilities)
    np.testing.assert_allclose(absent, found, atol=1e-9)


def test_nearly_equal_weights_come_close_to_type_seven() -> None:
    x = np.random.default_rng(3).random(500)
    weight = np.ones(500)
    weight[0] += 1e-12
    found = weighted_quantiles(x, weight, probabilities)
    np.testing.assert_allclose(found, quantiles(x, probabilities), atol=1e-9)


def test_one_value_with_weight() -> None:
    found = weighted_quantiles(np.array([0.1, 0.7]), np.array([0.0, 2.0]), probabilities)
    np.testing.assert_array_equal(found, np.full(7, 0.7))


def test_effective_size() -> None:
    assert effective_size(np.ones(10)) == 10.0
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1.0
    assert effective_size(np.array([1e-300, 1e-300])) == 2.0
