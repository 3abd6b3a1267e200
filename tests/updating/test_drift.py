"""The drift check: exact predictive tails, and verdicts on clinics whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import clinic_rates
from ketacast.numerics.draws import EqualDraws
from ketacast.updating.counts import Batch, Cell
from ketacast.updating.drift import check_drift
from ketacast.updating.drift_counts import predicted_total

ARTIFACT = load_artifact()
DRAWS = load_draws(ARTIFACT)
CODING = coding_of(ARTIFACT)
EQUAL = np.full(4096, 1.0 / 4096)

#: Incomplete beta functions against binomial sums.
SAME = 1e-10
#: Two cells with different chances, as the binomial with their mean and variance.
MATCHED = 0.002


def cell(n: int, responders: int, remitters: int | None, trials: int = 6) -> Cell:
    return Cell((trials, trials), 6, "self", "all_treated", n, responders, remitters)


def test_tails_of_one_cell_are_exact() -> None:
    rates = clinic_rates(DRAWS, CODING, 6, 6, "self", new_clinic=True)
    total = predicted_total([cell(30, 3, 1)], "response", DRAWS, EQUAL, CODING)
    assert total is not None
    below = float(np.mean(stats.binom.cdf(3, 30, rates.response)))
    less = float(np.mean(stats.binom.cdf(2, 30, rates.response)))
    assert total.at_most(3) == pytest.approx(below, abs=SAME)
    assert total.at_least(3) == pytest.approx(1 - less, abs=SAME)
    assert total.mid_p(3) == pytest.approx(below + less, abs=SAME)
    assert total.expected == pytest.approx(rates.response.mean(), abs=SAME)
    assert (total.at_most(-1), total.at_least(0)) == (0.0, 1.0)
    assert total.at_most(30) == pytest.approx(1.0, abs=SAME)
    assert total.least_p() == max(total.mid_p(0), total.mid_p(30))
    assert total.mid_p(12) > 0.5


def test_interval_holds_its_share_of_the_predictive_distribution() -> None:
    total = predicted_total([cell(40, 3, 1)], "remission", DRAWS, EQUAL, CODING)
    assert total is not None
    low, high = (round(40 * side) for side in total.share_interval(0.95))
    # Counts are whole, so a tail holds at most 2.5 % and the next count more.
    assert total.at_most(low - 1) < 0.026
    assert total.at_least(high + 1) < 0.026
    assert total.at_most(low) > 0.024
    assert total.at_least(high) > 0.024


def test_tails_of_two_cells_against_their_exact_convolution() -> None:
    cells = [cell(12, 4, 2, trials=2), cell(9, 3, None, trials=14)]
    total = predicted_total(cells, "response", DRAWS, EQUAL, CODING)
    assert total is not None
    assert (total.patients, total.observed) == (21, 7)
    one, other = (
        np.asarray(
            stats.binom.pmf(
                np.arange(n + 1),
                n,
                clinic_rates(DRAWS, CODING, f, 6, "self", new_clinic=True).response[:, None],
            )
        )
        for n, f in ((12, 2), (9, 14))
    )
    exact = np.zeros(22)
    for i in range(13):
        exact[i : i + 10] += (one[:, i, None] * other).mean(axis=0)
    for count in range(1, 21):
        assert total.at_most(count) == pytest.approx(exact[: count + 1].sum(), abs=MATCHED)
    remission = predicted_total(cells, "remission", DRAWS, EQUAL, CODING)
    assert remission is not None
    assert remission.patients == 12
    assert predicted_total(cells[1:], "remission", DRAWS, EQUAL, CODING) is None


def simulated(
    n_batches: int, n: int, seed: int, effect: float = 0.0, shift_from: int = 99
) -> list[Batch]:
    """A clinic at the posterior mean; `effect` on the logit, from a batch onward."""
    rng = np.random.default_rng(seed)
    mean = DRAWS.beta.mean(axis=0, keepdims=True)
    batches = []
    for number in range(n_batches):
        u = effect if number >= shift_from or shift_from == 99 else 0.0
        single = EqualDraws(mean, np.ones((1, 3)), np.array([[u, 0.0, 0.0]]))
        rates = clinic_rates(single, CODING, 6, 6, "self", new_clinic=True)
        drawn = rng.random(n)
        counts = [int((drawn < rate[0]).sum()) for rate in (rates.response, rates.remission)]
        batches.append(Batch(f"b{number}", (cell(n, counts[0], counts[1]),)))
    return batches


def test_two_small_batches_are_too_few() -> None:
    drift = check_drift(ARTIFACT, simulated(2, 4, seed=1))
    assert (drift.fits_model, drift.unchanged, drift.verdict) == ("too early to tell",) * 3
    assert check_drift(ARTIFACT, []).verdict == "too early to tell"
    assert check_drift(ARTIFACT, simulated(1, 60, seed=1)).unchanged == "too early to tell"


def test_steady_clinics_fit() -> None:
    for seed in range(3):
        drift = check_drift(ARTIFACT, simulated(6, 40, seed=seed))
        assert (drift.fits_model, drift.unchanged, drift.verdict) == ("fits",) * 3
        assert not drift.changed_at
        assert len(drift.points) == 12
        first = drift.points[0]
        assert first.earlier is None
        assert first.later_half is None
        assert (
            first.new_clinic.interval[0] < first.new_clinic.expected < first.new_clinic.interval[1]
        )
        # What the clinic has shown narrows the prediction of its next batch.
        last = drift.points[-1]
        assert last.earlier is not None
        assert np.diff(last.earlier.interval) < np.diff(last.new_clinic.interval)


def test_a_clinic_far_from_all_others_does_not_fit() -> None:
    drift = check_drift(ARTIFACT, simulated(4, 40, seed=2, effect=4.0))
    assert drift.fits_model == "does not fit"
    assert drift.misfit_at
    assert drift.unchanged == "fits"
    assert drift.verdict == "does not fit"


def test_a_shift_is_called_out_at_its_batch_or_after() -> None:
    for seed, effect in ((1, 1.8), (2, -1.8)):
        drift = check_drift(ARTIFACT, simulated(8, 40, seed=seed, effect=effect, shift_from=4))
        assert drift.unchanged == "does not fit"
        assert min(drift.changed_at) >= "b4"


def test_the_result_is_plain_data() -> None:
    drift = check_drift(ARTIFACT, simulated(2, 20, seed=3))
    document = json.loads(json.dumps(drift.to_dict()))
    assert document["verdict"] == drift.verdict
    assert set(document["points"][0]) == {
        "batch", "outcome", "new_clinic", "so_far", "earlier", "later_half"
    }  # fmt: skip


def test_an_informative_history_goes_on_from_a_refit() -> None:
    """The third batch is predicted after 2,000 patients, where 4,096 draws wear thin."""
    batches = [
        Batch("b0", (cell(1000, 400, 200, trials=2), cell(1000, 300, 150, trials=12))),
        Batch("b1", (cell(500, 200, 100, trials=2),)),
        Batch("b2", (cell(500, 200, 100, trials=2),)),
    ]
    drift = check_drift(ARTIFACT, batches)
    last = drift.points[-2].earlier
    assert last is not None
    # The clinic's own 40 % after 1,500 patients, standard error 1.3 points.
    assert last.expected == pytest.approx(0.4, abs=0.01)
    assert last.p_value > 0.5
