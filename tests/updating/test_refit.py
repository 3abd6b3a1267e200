"""The refit against reweighting, and how both meet."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.midcourse import weighted_quantiles
from ketacast.clinical.rates import clinic_rates
from ketacast.errors import ArtifactError
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.updating.counts import Cell, CountRater
from ketacast.updating.refit import Refit, load_model, refit
from ketacast.updating.reweight import effective_size, move, normalised
from ketacast.updating.update import REFIT_BELOW

ARTIFACT = load_artifact()
DRAWS = load_draws(ARTIFACT)
CODING = coding_of(ARTIFACT)
MODEL = load_model(ARTIFACT)

PROBABILITIES = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
#: Where both ways are in use: expected rates agree to half a point ...
EXPECTED_GAP = 0.005
#: ... and quantiles to 2.5 points at the corners of the grid, as two sets of 4,096 draws do.
QUANTILE_GAP = 0.027


def pair(band: tuple[int, int], rater: CountRater, n: int, counts: tuple[int, int]) -> Cell:
    return Cell(band, 6, rater, "all_treated", n, *counts)


#: Effective sizes of 4,096 around the switch (2,000) and far above.
AROUND_THE_SWITCH = {
    "both raters": (
        pair((5, 8), "self", 100, (40, 25)),
        pair((5, 8), "clinician", 100, (60, 40)),
    ),
    "two bands": (pair((2, 4), "self", 60, (26, 15)), pair((6, 9), "self", 60, (24, 12))),
    "one cell": (pair((4, 8), "self", 30, (12, 5)),),
}
INFORMATIVE = (
    pair((2, 4), "self", 1000, (500, 300)),
    pair((5, 8), "self", 1000, (400, 200)),
    pair((9, 12), "self", 500, (150, 70)),
)


@lru_cache
def fitted(cells: tuple[Cell, ...]) -> Refit:
    return refit(MODEL, cells)


def summarised(draws: EqualDraws, weight: Float | None) -> tuple[Float, Float]:
    """Means and quantiles at the corners and the middle of the supported grid."""
    means, quantiles = [], []
    for trials in (2, 6, 12):
        for infusions in (1, 6, 8):
            for rater in ("self", "clinician"):
                rates = clinic_rates(draws, CODING, trials, infusions, rater, new_clinic=True)
                for values in (rates.response, rates.remission):
                    means.append(np.average(values, weights=weight))
                    quantiles.append(weighted_quantiles(values, weight, PROBABILITIES))
    return np.array(means), np.array(quantiles)


@pytest.mark.parametrize("name", AROUND_THE_SWITCH)
def test_the_answer_does_not_jump_where_refits_take_over(name: str) -> None:
    cells = AROUND_THE_SWITCH[name]
    moved = move(DRAWS, cells, CODING)
    assert effective_size(moved.log_weight) > 0.9 * REFIT_BELOW
    weighted = EqualDraws(DRAWS.beta, DRAWS.tau, moved.scores)
    one = summarised(weighted, normalised(moved.log_weight))
    other = summarised(fitted(cells).draws, None)
    np.testing.assert_allclose(one[0], other[0], atol=EXPECTED_GAP)
    np.testing.assert_allclose(one[1], other[1], atol=QUANTILE_GAP)


def test_an_informative_clinic_needs_the_refit() -> None:
    moved = move(DRAWS, INFORMATIVE, CODING)
    assert effective_size(moved.log_weight) < 400
    assert fitted(INFORMATIVE).ess > 0.5 * MODEL.points


def test_much_data_converge_to_the_clinics_own_rates() -> None:
    draws = fitted(INFORMATIVE).draws
    for cell in INFORMATIVE:
        low, high = cell.failed_trials
        rates = [
            clinic_rates(draws, CODING, f, 6, cell.rated_by, new_clinic=True)
            for f in range(low, high + 1)
        ]
        for outcome, count in (("response", cell.responders), ("remission", cell.remitters)):
            assert count is not None
            rate = np.mean([getattr(one, outcome) for one in rates], axis=0)
            own = count / cell.n
            error = np.sqrt(own * (1 - own) / cell.n)
            # Three cells share an intercept and a slope: each keeps to within 2.5
            # standard errors of its own rate, and is known at least as well.
            assert abs(rate.mean() - own) < 2.5 * error
            assert rate.std() < 1.1 * error


def test_one_large_cell_of_five_thousand() -> None:
    cell = pair((6, 6), "self", 5000, (1000, 400))
    moved = move(DRAWS, [cell], CODING)
    draws = EqualDraws(DRAWS.beta, DRAWS.tau, moved.scores)
    weight = normalised(moved.log_weight)
    rates = clinic_rates(draws, CODING, 6, 6, "self", new_clinic=True)
    for values, own in ((rates.response, 0.2), (rates.remission, 0.08)):
        error = np.sqrt(own * (1 - own) / 5000)
        mean = float(weight @ values)
        # Prior and draws together move it by less than a third of a standard error.
        assert abs(mean - own) < error / 3
        assert np.sqrt(weight @ (values - mean) ** 2) == pytest.approx(error, rel=0.05)


def test_later_counts_may_start_from_a_refit() -> None:
    """Weights relative to the refit's counts carry it on to more of them."""
    cells = AROUND_THE_SWITCH["two bands"]
    more = (*cells, pair((6, 9), "self", 30, (9, 4)))
    base = fitted(cells).base
    before, after = move(base, cells, CODING), move(base, more, CODING)
    log_weight = after.log_weight - before.log_weight
    assert effective_size(log_weight) > 3000
    one = summarised(EqualDraws(base.beta, base.tau, after.scores), normalised(log_weight))
    direct = move(DRAWS, more, CODING)
    weight = normalised(direct.log_weight)
    other = summarised(EqualDraws(DRAWS.beta, DRAWS.tau, direct.scores), weight)
    # The refit's points before their moments are matched: twice the gap.
    np.testing.assert_allclose(one[0], other[0], atol=2 * EXPECTED_GAP)


def test_another_recipe_than_the_artifacts_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ARTIFACT.directory, tmp_path / "model")
    with (tmp_path / "model" / "recipe.toml").open("a") as stream:
        stream.write("# changed\n")
    with pytest.raises(ArtifactError, match="the recipe in"):
        load_model(load_artifact(tmp_path / "model"))
    (tmp_path / "model" / "recipe.toml").unlink()
    with pytest.raises(ArtifactError, match="need a refit"):
        load_model(load_artifact(tmp_path / "model"))
