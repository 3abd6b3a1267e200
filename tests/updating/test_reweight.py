"""The map of the scores and its weights, against likelihoods worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import clinic_rates
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.updating.counts import Cell
from ketacast.updating.likelihood import cell_chances, code_cells, heights, log_likelihood
from ketacast.updating.reweight import effective_size, move, normalised

ARTIFACT = load_artifact()
DRAWS = load_draws(ARTIFACT)
CODING = coding_of(ARTIFACT)

#: Sums of a dozen terms of size 1 to 100, in another order.
SAME = 1e-9
#: Central differences with a step of 1e-5: error 1e-10 of the third derivative, and
#: rounding of 1e-16 / 1e-5 of a log likelihood of size 100.
BY_DIFFERENCES = 1e-5
#: 4,096 even points: the weights' own spread (2-30 %) over some hundred
#: times its square root; a grid of 61 points a side is exact to 1e-6.
BY_GRID = 0.01

PAIR = Cell((4, 8), 6, "self", "all_treated", 30, 12, 5)
ALONE = Cell((2, 3), 4, "clinician", "completers", 15, 9, None)
REMITTERS = Cell((9, 9), 8, "self", "all_treated", 25, None, 6)
NONE_OF_TEN = Cell((6, 6), 6, "self", "all_treated", 10, 0, 0)


def by_hand(cell: Cell, i: int, effects: Float) -> tuple[float, float]:
    """Chances of response and remission in a cell at draw i, number by number."""
    unit = EqualDraws(DRAWS.beta[i : i + 1], np.ones((1, 3)), effects[None])
    rates = [
        clinic_rates(unit, CODING, f, cell.infusions, cell.rated_by, new_clinic=True)
        for f in range(cell.failed_trials[0], cell.failed_trials[1] + 1)
    ]
    return (
        float(np.mean([rate.response[0] for rate in rates])),
        float(np.mean([rate.remission[0] for rate in rates])),
    )


@pytest.mark.parametrize("i", [0, 1000, 4095])
def test_the_likelihood_is_the_joint_multinomial_of_the_band(i: int) -> None:
    effects = np.array([0.4, -0.3, 0.2])
    draws = EqualDraws(DRAWS.beta[i : i + 1], DRAWS.tau[i : i + 1], DRAWS.scores[i : i + 1])
    p, pq = by_hand(PAIR, i, effects)
    n, y, z = 30, 12, 5
    expected = stats.multinomial.logpmf([z, y - z, n - y], n, [pq, p - pq, 1 - p])
    constant = special.gammaln(n + 1) - special.gammaln([z + 1, y - z + 1, n - y + 1]).sum()
    found = log_likelihood(code_cells([PAIR], draws, CODING), effects[None])[0]
    assert found + constant == pytest.approx(expected, abs=SAME)
    for cell, count, chance in ((ALONE, 9, 0), (REMITTERS, 6, 1)):
        rate = by_hand(cell, i, effects)[chance]
        expected = count * np.log(rate) + (cell.n - count) * np.log1p(-rate)
        coded = code_cells([cell], draws, CODING)
        assert log_likelihood(coded, effects[None])[0] == pytest.approx(expected, abs=SAME)
        assert cell_chances(coded[0], effects[None])[chance][0] == pytest.approx(rate, abs=SAME)


@pytest.mark.parametrize("cell", [PAIR, ALONE, REMITTERS, NONE_OF_TEN])
def test_the_score_is_the_slope_of_the_log_likelihood(cell: Cell) -> None:
    (coded,) = code_cells([cell], DRAWS, CODING)
    effects = DRAWS.tau * DRAWS.scores
    found = heights(coded, effects)
    step = 1e-5
    for column, slope in ((0, found.score_eta), (1, found.score_theta)):
        ends = []
        for side in (-1, 1):
            moved = effects.copy()
            moved[:, column] += side * step
            ends.append(log_likelihood([coded], moved))
        difference = (ends[1] - ends[0]) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=BY_DIFFERENCES, atol=BY_DIFFERENCES)
    np.testing.assert_allclose(found.log_lik, log_likelihood([coded], effects), atol=SAME)
    assert np.all(found.info_eta * found.info_theta >= found.info_cross**2 * (1 - SAME))


def test_no_counts_change_no_bit() -> None:
    moved = move(DRAWS, [], CODING)
    assert moved.scores is DRAWS.scores
    assert not moved.log_weight.any()
    empty = Cell((4, 8), 6, "self", "all_treated", 0, 0, 0)
    assert move(DRAWS, [empty], CODING).scores is DRAWS.scores
    assert effective_size(moved.log_weight) == 4096


def grid_posterior(cells: list[Cell], i: int) -> tuple[float, Float, Float]:
    """Log marginal likelihood, mean and SD of the scores on a dense grid."""
    side = np.linspace(-6, 6, 61)
    points = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    beta = np.broadcast_to(DRAWS.beta[i], (points.shape[0], 8))
    tau = np.broadcast_to(DRAWS.tau[i], points.shape)
    coded = code_cells(cells, EqualDraws(beta, tau, points), CODING)
    log_height = log_likelihood(coded, tau * points) - 0.5 * (points**2).sum(axis=1)
    weight = normalised(log_height)
    top = log_height.max()
    volume = (side[1] - side[0]) ** 3 / (2 * np.pi) ** 1.5
    marginal = float(top + np.log(np.exp(log_height - top).sum() * volume))
    mean = weight @ points
    return marginal, mean, np.sqrt(weight @ (points - mean) ** 2)


@pytest.mark.parametrize("cells", [[PAIR], [NONE_OF_TEN], [REMITTERS], [PAIR, ALONE, REMITTERS]])
@pytest.mark.parametrize("i", [17, 2500])
def test_weights_and_scores_give_the_posterior_of_one_clinic(cells: list[Cell], i: int) -> None:
    """With the model's parameters fixed, against brute force in three dimensions."""
    scores = special.ndtri(even_points(4096, 3))
    beta, tau = np.tile(DRAWS.beta[i], (4096, 1)), np.tile(DRAWS.tau[i], (4096, 1))
    moved = move(EqualDraws(beta, tau, scores), cells, CODING)
    marginal, mean, sd = grid_posterior(cells, i)
    weight = normalised(moved.log_weight)
    top = moved.log_weight.max()
    assert top + np.log(np.exp(moved.log_weight - top).mean()) == pytest.approx(
        marginal, abs=BY_GRID
    )
    found = weight @ moved.scores
    np.testing.assert_allclose(found, mean, atol=BY_GRID)
    np.testing.assert_allclose(np.sqrt(weight @ (moved.scores - found) ** 2), sd, atol=2 * BY_GRID)


@pytest.mark.parametrize("remitters", [0, 3, 10])
def test_extreme_counts_are_taken(remitters: int) -> None:
    cell = Cell((0, 20), 30, "clinician", "completers", 10, None, remitters)
    moved = move(DRAWS, [cell], CODING)
    assert np.isfinite(moved.scores).all()
    assert np.isfinite(moved.log_weight).all()
