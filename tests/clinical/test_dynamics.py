"""Course dynamics: rows, rules, and what the fit says about its own evidence."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.dynamics import (
    Dynamics,
    DynamicsRules,
    early_tables,
    fit_dynamics,
    halved_logit,
)
from ketacast.clinical.rates import components, mixture_rates
from ketacast.errors import RecipeError
from ketacast.evidence import load_evidence
from ketacast.numerics.propensity import condition_on_history

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"
RULES = """
mu_mean = 0.0
mu_sd = 1.5
sd_scale = 1.0
margin_sd = 1.5
[[tables]]
early_yes = "biok_r1"
early_no = "biok_n1"
[[tables]]
early_yes = "murrough_4h_yes"
early_no = "murrough_4h_no"
[[tables]]
early_no = "diamond_n2"
early_yes_counts = [8, 8]
"""

#: MODEL: printed to two decimals and introduced by "about".
ORIENTATION = 0.015
#: Rank correlation of the draws of w with any other column of draws.
UNRELATED = 0.02
#: Quantile-exact draws against the mixture they come from.
EVEN = 1e-3


def rules(**changed: Any) -> DynamicsRules:
    return DynamicsRules.from_mapping({**tomllib.loads(RULES), **changed})


@pytest.fixture(scope="module")
def dynamics() -> Dynamics:
    return fit_dynamics(load_evidence(MODEL / "evidence"), rules())


@pytest.fixture(scope="module")
def propensity(dynamics: Dynamics) -> NDArray[np.float64]:
    return dynamics.draws(load_draws(load_artifact(MODEL)))


def test_tables_are_those_of_the_model(dynamics: Dynamics) -> None:
    assert [table.counts for table in dynamics.tables] == [
        (22, 11, 16, 24), (16, 2, 1, 5), (8, 0, 0, 20),
    ]  # fmt: skip
    assert [table.family for table in dynamics.tables] == ["biok2023", "mount_sinai", "diamond2014"]
    assert dynamics.tables[0].early == "response (MADRS), after infusion 1"
    assert dynamics.tables[0].final == "remission, after infusion 3"


def test_the_dictionary_is_plain_and_agrees_with_the_fit(dynamics: Dynamics) -> None:
    found = json.loads(json.dumps(dynamics.to_dict(), allow_nan=False))
    assert found["priors"] == {"mu_mean": 0.0, "mu_sd": 1.5, "sd_scale": 1.0, "margin_sd": 1.5}
    assert found["mu"]["mean"] == dynamics.posterior.mu_mean
    assert found["tables"][2]["rows"] == ["diamond_n2"]
    quantiles = list(found["new_clinic"]["quantiles"].values())
    assert quantiles == sorted(quantiles)
    assert found["new_clinic"]["quantiles"]["0.5"] == pytest.approx(0.76, abs=ORIENTATION)


def test_draws_of_w_are_even_and_unrelated(
    dynamics: Dynamics, propensity: NDArray[np.float64]
) -> None:
    draws = load_draws(load_artifact(MODEL))
    beside = np.concatenate([draws.beta, draws.tau, draws.scores], axis=1)
    assert propensity.shape == (beside.shape[0],)
    assert (propensity > 0.0).all()
    assert (propensity < 1.0).all()
    for column in beside.T:
        assert abs(stats.spearmanr(propensity, column).statistic) < UNRELATED
    at = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = dynamics.posterior.new_quantile(at)
    np.testing.assert_allclose(np.quantile(propensity, at), expected, atol=EVEN)


def test_orientation_of_the_model(propensity: NDArray[np.float64]) -> None:
    """Expected marginals, unknown rater; the range is that of w alone."""
    artifact = load_artifact(MODEL)
    draws, coding = load_draws(artifact), coding_of(artifact)
    rates = [mixture_rates(draws, coding, components([6], "unknown"), k)[1] for k in range(1, 9)]
    p = np.array([one.response.mean() for one in rates])
    q = np.array([one.remission.mean() for one in rates])
    n = propensity.size
    assert p[5] == pytest.approx(0.50, abs=ORIENTATION)
    expected = {"N": (0.36, None), "NNN": (0.23, (0.15, 0.37)), "M": (0.85, (0.61, 1.00))}
    for history, (mean, bounds) in expected.items():
        # "After a response" of either kind: remission is taken for response.
        remission = p if history == "M" else q
        found = condition_on_history(
            propensity, np.tile(p, (n, 1)), np.tile(remission, (n, 1)), history
        ).response[:, 5 - len(history)]
        assert found.mean() == pytest.approx(mean, abs=ORIENTATION)
        if bounds is not None:
            np.testing.assert_allclose(np.quantile(found, [0.1, 0.9]), bounds, atol=ORIENTATION)


def test_the_dynamics_reproduce_the_evidence_behind_them(
    dynamics: Dynamics, propensity: NDArray[np.float64]
) -> None:
    """Bio-K: remission after 3 infusions, 22 of 33 early responders and 16 of 40 others."""
    artifact = load_artifact(MODEL)
    draws, coding = load_draws(artifact), coding_of(artifact)
    rates = [mixture_rates(draws, coding, components([6], "clinician"), k)[1] for k in range(1, 9)]
    p = np.stack([one.response for one in rates], axis=1)
    q = np.stack([one.remission for one in rates], axis=1)
    # An early response of either kind: at infusion 1 remission is taken for response.
    either = np.concatenate([p[:, :1], q[:, 1:]], axis=1)
    after, others = (
        condition_on_history(propensity, p, either, status).remission[:, 1] for status in "MN"
    )
    rng = np.random.default_rng(1)
    weight = np.array([p[:, 0], 1.0 - p[:, 0]])
    yes = rng.choice(rng.binomial(33, after), 4096, p=weight[0] / weight[0].sum())
    no = rng.choice(rng.binomial(40, others), 4096, p=weight[1] / weight[1].sum())
    for simulated, seen in ((yes, 22), (no, 16)):
        low, high = np.quantile(simulated, [0.025, 0.975])
        assert low <= seen <= high
    # Both rows of one clinic together: w and the marginals are shared.
    apart = rng.binomial(33, after) / 33 - rng.binomial(40, others) / 40
    low, high = np.quantile(apart, [0.025, 0.975])
    assert low <= 22 / 33 - 16 / 40 <= high


def test_given_its_own_margins_bio_k_is_reproduced(propensity: NDArray[np.float64]) -> None:
    """With Bio-K's early response (33/73) and remission (38/73), w of a new clinic."""
    n = propensity.size
    p, q = np.array([33 / 73, 38 / 73]), np.array([33 / 73, 38 / 73])
    rng = np.random.default_rng(2)
    for status, size, seen in (("M", 33, 22), ("N", 40, 16)):
        chance = condition_on_history(
            propensity, np.tile(p, (n, 1)), np.tile(q, (n, 1)), status
        ).remission[:, 0]
        low, high = np.quantile(rng.binomial(size, chance), [0.05, 0.95])
        assert low <= seen <= high


def test_halved_logit() -> None:
    w = np.array([0.1, 0.5, 0.94])
    found = halved_logit(w)
    np.testing.assert_allclose(special.logit(found), 0.5 * special.logit(w), atol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tables": []}, "tables"),
        ({"mu_sd": 0.0}, "mu_sd"),
        ({"margin_sd": True}, "margin_sd"),
        ({"sd_scale": "1"}, "sd_scale"),
        ({"other": 1}, "unknown entry 'other'"),
        ({"tables": ["biok_n1"]}, "give a table"),
        ({"tables": [{"early_no": 1, "early_yes": "biok_r1"}]}, "early_no is 1"),
        ({"tables": [{"early_no": "biok_n1", "early_yes": ""}]}, "early_yes is ''"),
        ({"tables": [{"early_no": "biok_n1"}]}, "not both"),
        ({"tables": [{"early_no": "a", "early_yes": "b", "early_yes_counts": [1, 2]}]}, "not both"),
        ({"tables": [{"early_no": "a", "early_yes_counts": [3, 2]}]}, r"\[events, n\]"),
        ({"tables": [{"early_no": "a", "early": "b"}]}, "unknown entry 'early'"),
    ],
)
def test_unusable_rules_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        rules(**change)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"early_yes": "biok_r1", "early_no": "nothing"}, "'nothing' is not in"),
        ({"early_yes": "biok_r1", "early_no": "biok_n2"}, "prints no counts"),
        ({"early_yes": "biok_n1", "early_no": "biok_n1"}, "early status 'no'"),
        ({"early_yes": "biok_r1", "early_no": "biok_r1"}, "early status 'yes'"),
        ({"early_yes": "biok_r1", "early_no": "murrough_4h_no"}, "differ in family"),
    ],
)
def test_rows_that_form_no_table_are_refused(table: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        early_tables(load_evidence(MODEL / "evidence"), rules(tables=[table]))


def test_a_family_gives_one_table() -> None:
    tables = deepcopy(tomllib.loads(RULES)["tables"])
    with pytest.raises(RecipeError, match="repeat"):
        early_tables(load_evidence(MODEL / "evidence"), rules(tables=[*tables, tables[0]]))
