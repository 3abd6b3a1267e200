"""A patient's propensity: quadrature against brute force, fit against other methods."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats

from ketacast.errors import InputError
from ketacast.numerics.propensity import ACCURACY, HIGHEST_PROPENSITY, condition_on_history
from ketacast.numerics.propensity_decay import condition_with_decay
from ketacast.numerics.propensity_normal import RELATIVE_ERROR, normal_cdf_in_place, scratch
from ketacast.numerics.propensity_table import bivariate_normal_cdf

Array = NDArray[np.float64]
#: Below this likelihood a draw weighs nothing beside the others.
LIKELY = 1e-8
#: Unlikely draws, relative to themselves.
UNLIKELY_ACCURACY = 1e-5
#: Two different answers of the quadrature may each be off by ACCURACY.
ORDER = 2 * ACCURACY
#: Filtering on a grid.
DECAY_ACCURACY = 1e-5
HISTORIES = ("N", "R", "M", "NN", "NR", "RR", "?N", "NRM", "NMNM", "RRRR", "NNNNNNNN",
             "RRRRRRRR", "NNRRMMRN", "????N", "NNNNNNNNNNNN")  # fmt: skip
PROPENSITIES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.85, 0.94, 0.97, 0.99, 0.999)
LEAST_CASES = 15 * 10 * 3


def courses(n: int, spread: float, seed: int) -> tuple[Array, Array]:
    """Marginals like the model's: logits linear in the doublings of infusions."""
    rng = np.random.default_rng(seed)
    x = np.log2(np.arange(1, 9) / 6)
    eta = spread * rng.normal(size=n)[:, None] + rng.normal(0.45, 0.4, n)[:, None] * x
    theta = rng.normal(0.4, 0.5 + 0.5 * spread, n)[:, None] + 0.2 * x
    response = special.expit(eta)
    return response, response * special.expit(theta)


def brute_force(w: float, p: Array, q: Array, history: str) -> tuple[float, Array, Array]:
    """The same integrals on a grid twelve times as fine over [-14, 14]."""
    root, spread = np.sqrt(w), np.sqrt(1 - w)
    z = np.arange(-14.0, 14.0, min(0.02, spread / root / 12))
    p_cut, q_cut = special.ndtri(p), special.ndtri(q)
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * (z[1] - z[0])

    def below(cut: float) -> Array:
        return special.ndtr((cut - root * z) / spread)  # type: ignore[no-any-return]

    for k, status in enumerate(history):
        j = min(k, p.size - 1)
        if status == "N":
            density = density * special.ndtr((root * z - p_cut[j]) / spread)
        elif status == "M":
            density = density * below(q_cut[j])
        elif status == "R":
            upper = special.ndtr((root * z - q_cut[j]) / spread)
            lower = special.ndtr((root * z - p_cut[j]) / spread)
            # Whichever tail keeps the digits.
            lower_tail = below(p_cut[j]) - below(q_cut[j])
            density = density * np.where(upper < 0.5, upper - lower, lower_tail)
    likelihood = float(density.sum())
    later = range(min(len(history), p.size - 1), p.size)
    density = density / max(likelihood, 1e-290)
    return (
        likelihood,
        np.array([density @ below(p_cut[j]) for j in later]),
        np.array([density @ below(q_cut[j]) for j in later]),
    )


def test_conditioning_agrees_with_brute_force() -> None:
    w = np.array(PROPENSITIES)
    cases = 0
    for history in HISTORIES:
        for seed, spread in enumerate((0.5, 1.0, 3.0)):
            p, q = courses(w.size, spread, seed)
            found = condition_on_history(w, p, q, history)
            for i in range(w.size):
                likelihood, response, remission = brute_force(w[i], p[i], q[i], history)
                cases += 1
                if likelihood < 1e-290:  # brute force underflows
                    continue
                tolerance = ACCURACY if likelihood > LIKELY else UNLIKELY_ACCURACY
                case = f"{history} w={w[i]} {likelihood:.0e}"
                if likelihood > 1e-12:  # beyond: documented as inaccurate
                    assert found.likelihood[i] == pytest.approx(likelihood, rel=tolerance), case
                    np.testing.assert_allclose(
                        found.response[i], response, 0, tolerance, err_msg=case
                    )
                    np.testing.assert_allclose(
                        found.remission[i], remission, 0, tolerance, err_msg=case
                    )
    assert cases == LEAST_CASES


def test_brute_force_agrees_with_adaptive_integration() -> None:
    p, q = courses(1, 0.5, 7)
    cut = special.ndtri(p[0])

    def integrand(z: float, later: bool) -> float:
        root, spread = np.sqrt(0.8), np.sqrt(0.2)
        value = stats.norm.pdf(z) * stats.norm.cdf((root * z - cut[0]) / spread)
        return float(value * (stats.norm.cdf((cut[5] - root * z) / spread) if later else 1.0))

    total, joint = (
        integrate.quad(integrand, -12, 12, args=(flag,), epsabs=1e-12)[0] for flag in (False, True)
    )
    found = condition_on_history(np.array([0.8]), p, q, "N")
    assert found.likelihood[0] == pytest.approx(total, rel=ACCURACY)
    assert found.response[0, 4] == pytest.approx(joint / total, abs=ACCURACY)
    assert brute_force(0.8, p[0], q[0], "N")[0] == pytest.approx(total, rel=1e-9)


def test_two_infusions_are_a_bivariate_normal() -> None:
    w = np.array([0.0, 0.05, 0.5, 0.9, 0.99])
    p, q = courses(w.size, 1.0, 3)
    found = condition_on_history(w, p, q, "M")
    cut = special.ndtri(np.column_stack([q[:, 0], p[:, 1]]))
    joint = bivariate_normal_cdf(cut[:, 0], cut[:, 1], w)
    np.testing.assert_allclose(found.likelihood, q[:, 0], rtol=ACCURACY)
    np.testing.assert_allclose(found.response[:, 0], joint / q[:, 0], atol=ACCURACY)


def test_extreme_marginals() -> None:
    p = np.array([[1e-9] * 3, [1 - 1e-9] * 3, [0.5] * 3, [1.0] * 3])
    q = np.array([[0.0] * 3, [0.5] * 3, [0.5 - 1e-7] * 3, [1.0] * 3])
    w = np.array([0.9, 0.5, 0.99, 0.9])
    for history in ("N", "R", "M"):
        found = condition_on_history(w, p, q, history)
        assert np.isfinite(found.response).all()
        assert (found.remission <= found.response).all()
        expected = {"N": 1 - p, "R": p - q, "M": q}[history][:, 0]
        np.testing.assert_allclose(found.likelihood, expected, rtol=ACCURACY, atol=1e-15)
    impossible = condition_on_history(w, p, q, "N")
    assert impossible.likelihood[3] == 0.0
    np.testing.assert_array_equal(impossible.response[3], p[3, 1:])


@pytest.mark.parametrize("history", ["N", "RM", "NNR?", "MMMMMMMM"])
def test_without_ties_infusions_are_independent(history: str) -> None:
    p, q = courses(20, 1.0, 1)
    found = condition_on_history(np.zeros(20), p, q, history)
    product = np.ones(20)
    for k, status in enumerate(history):
        product = product * {"N": 1 - p, "R": p - q, "M": q, "?": np.ones_like(p)}[status][:, k]
    np.testing.assert_allclose(found.likelihood, product, rtol=1e-14)
    np.testing.assert_array_equal(found.response, p[:, min(len(history), 7) :])
    np.testing.assert_array_equal(found.remission, q[:, min(len(history), 7) :])


def test_shapes_along_a_course() -> None:
    p, q = courses(4, 1.0, 1)
    w = np.full(4, 0.7)
    for history, first, columns in (("", 1, 8), ("N", 2, 7), ("N" * 7, 8, 1), ("N" * 12, 13, 1)):
        found = condition_on_history(w, p, q, history)
        assert (found.first, found.response.shape) == (first, (4, columns))
        assert not found.response.flags.writeable


def test_the_statuses_share_all_probability() -> None:
    w = np.array(PROPENSITIES)
    p, q = courses(w.size, 1.0, 5)
    before = condition_on_history(w, p, q, "NR")
    after = {s: condition_on_history(w, p, q, "NR" + s) for s in "NRM"}
    total = sum(one.likelihood for one in after.values())
    np.testing.assert_allclose(total, before.likelihood, rtol=2 * ACCURACY)
    mixed = sum(one.likelihood[:, None] * one.response for one in after.values())
    np.testing.assert_allclose(
        mixed / before.likelihood[:, None], before.response[:, 1:], atol=3 * ACCURACY
    )
    np.testing.assert_allclose(
        after["M"].likelihood / before.likelihood, before.remission[:, 0], atol=2 * ACCURACY
    )


w_values = st.floats(0.0, 0.999)
logits = st.floats(-4.0, 4.0)
letters = st.text("NRM?", max_size=10)


def one_course(base: float, slope: float, given: float) -> tuple[Array, Array]:
    x = np.log2(np.arange(1, 9) / 6)
    p = special.expit(base + slope * x)[None, :]
    return p, p * special.expit(given)


@settings(max_examples=60, deadline=None)
@given(w=w_values, base=logits, slope=st.floats(-0.5, 1.5), given_logit=logits, history=letters)
def test_better_statuses_never_lower_the_chance(
    w: float, base: float, slope: float, given_logit: float, history: str
) -> None:
    p, q = one_course(base, slope, given_logit)
    at = np.array([w])
    start = condition_on_history(at, p, q, history)
    if start.likelihood[0] < LIKELY:
        return
    later = {s: condition_on_history(at, p, q, history + s) for s in "NRM?"}
    columns = slice(1, None) if start.response.shape[1] > 1 else slice(0, None)
    before = start.response[:, columns]
    np.testing.assert_array_equal(later["?"].response, before)
    np.testing.assert_array_equal(later["?"].likelihood, start.likelihood)
    ranked = [later[s] for s in "NRM"]
    if min(one.likelihood[0] for one in ranked) > LIKELY:
        chances = np.array([one.response[0] for one in ranked])
        assert (np.diff(chances, axis=0) >= -ORDER).all()
    # A response of either kind is no worse than not knowing; no response is no better.
    if later["N"].likelihood[0] > LIKELY:
        assert (later["N"].response <= before + ORDER).all()
        assert (later["N"].remission <= start.remission[:, columns] + ORDER).all()
    if later["M"].likelihood[0] > LIKELY:
        assert (later["M"].response >= before - ORDER).all()
    either = [later["R"], later["M"]]
    mass = either[0].likelihood + either[1].likelihood
    if mass[0] > LIKELY:
        mixed = sum(one.likelihood * one.response[0] for one in either) / mass
        assert (mixed >= before[0] - ORDER).all()
    assert all((one.remission <= one.response).all() for one in later.values())


@settings(max_examples=40, deadline=None)
@given(
    w=w_values, base=logits, given_logit=logits, history=st.text("NRM", min_size=2, max_size=6),
    data=st.data(),
)  # fmt: skip
def test_order_does_not_matter_where_marginals_are_equal(
    w: float, base: float, given_logit: float, history: str, data: st.DataObject
) -> None:
    p, q = one_course(base, 0.0, given_logit)
    shuffled = "".join(data.draw(st.permutations(list(history))))
    one, other = (condition_on_history(np.array([w]), p, q, h) for h in (history, shuffled))
    if one.likelihood[0] > LIKELY:
        np.testing.assert_allclose(one.likelihood, other.likelihood, rtol=ORDER)
        np.testing.assert_allclose(one.response, other.response, atol=ORDER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensity": [0.5, 1.0]}, "propensity"),
        ({"propensity": [-0.1, 0.5]}, "propensity"),
        ({"propensity": [0.5]}, "do not match"),
        ({"response": [[0.5, 1.2], [0.5, 0.5]]}, "response"),
        ({"remission": [[0.6, 0.1], [0.5, 0.5]]}, "remission"),
        ({"history": "NX"}, "'NX'"),
        ({"history": "n"}, "one letter per infusion"),
    ],
)
def test_unusable_input_is_refused(change: dict[str, object], message: str) -> None:
    usable: dict[str, object] = {
        "propensity": [0.5, 0.6],
        "response": [[0.5, 0.6], [0.5, 0.6]],
        "remission": [[0.2, 0.3], [0.2, 0.3]],
        "history": "N",
    }
    with pytest.raises(InputError, match=message):
        condition_on_history(**{**usable, **change})  # type: ignore[arg-type]


def test_propensity_close_to_one_is_still_answered() -> None:
    p, q = courses(1, 0.5, 1)
    found = condition_on_history(np.array([HIGHEST_PROPENSITY]), p, q, "N")
    # At w = 1 the patient's L never moves: no response at k has chance (1 - p_k) / (1 - p_1).
    limit = np.maximum(0.0, 1.0 - (1.0 - p[0, 1:]) / (1.0 - p[0, 0]))
    np.testing.assert_allclose(found.response[0], limit, atol=1e-3)


def test_fast_normal_distribution_function() -> None:
    x = np.concatenate([np.linspace(-37.0, 37.0, 20001), [0.0, -0.0, np.inf, -np.inf]])
    found = x.copy()
    normal_cdf_in_place(found, scratch(x.size))
    expected = special.ndtr(x)
    np.testing.assert_allclose(found, expected, rtol=RELATIVE_ERROR)
    short = x.astype(np.float32)
    normal_cdf_in_place(short, np.empty((4, x.size), np.float32))
    np.testing.assert_allclose(short, special.ndtr(x.astype(np.float32)), atol=2e-7)


def test_decay_agrees_with_the_multivariate_normal() -> None:
    p, q = courses(3, 0.7, 4)
    w = np.array([0.3, 0.7, 0.95])
    decay = 0.4
    found = condition_with_decay(w, p, q, "N?M", decay)
    places = np.array([1, 3, 6])
    distance = np.abs(np.log2(places[:, None] / places))
    for i in range(3):
        correlation = w[i] * np.exp(-decay * distance)
        np.fill_diagonal(correlation, 1.0)
        cut = special.ndtri([p[i, 0], q[i, 2], p[i, 5]])
        sign = np.array([-1.0, 1.0, 1.0])  # N: above the threshold
        signed = correlation * np.outer(sign, sign)

        def probability(size: int, signed: Array = signed, at: Array = sign * cut) -> float:
            normal = stats.multivariate_normal(  # type: ignore[call-overload]
                np.zeros(size), signed[:size, :size], maxpts=400_000, abseps=1e-7, releps=1e-7
            )
            return float(normal.cdf(at[:size]))

        two, three = probability(2), probability(3)
        assert found.likelihood[i] == pytest.approx(two, abs=DECAY_ACCURACY)
        # The reference is itself a randomised integral, good to about 1e-5.
        assert found.response[i, 2] == pytest.approx(three / two, abs=2e-4)


def test_decay_edges() -> None:
    p, q = courses(5, 0.7, 4)
    w = np.array([0.1, 0.5, 0.8, 0.95, 0.99])
    plain, none = condition_on_history(w, p, q, "NR"), condition_with_decay(w, p, q, "NR", 0.0)
    np.testing.assert_array_equal(plain.response, none.response)
    slow = condition_with_decay(w, p, q, "NR", 0.01)
    # Strong ties make much of a small drift, weak ties little.
    np.testing.assert_allclose(slow.response[:3], plain.response[:3], atol=0.01)
    unknown = condition_with_decay(w, p, q, "??", 0.5)
    np.testing.assert_array_equal(unknown.response, p[:, 2:])
    # Beyond the last marginal nothing changes, so the propensity does not drift either.
    same = condition_with_decay(w, p, q, "???????NN", 0.5)
    still = condition_on_history(w, p, q, "???????NN")
    np.testing.assert_allclose(same.response, still.response, atol=DECAY_ACCURACY)
    for decay in (-0.1, 0.001, 11.0, float("nan")):
        with pytest.raises(InputError, match="decay"):
            condition_with_decay(w, p, q, "N", decay)
