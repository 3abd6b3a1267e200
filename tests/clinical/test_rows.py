"""Evidence to likelihood rows to arrays and priors."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.clinical.recipe import COEFFICIENTS, ContrastUse, NormalPrior, Recipe, load_recipe
from ketacast.clinical.rows import (
    LikelihoodRow,
    basis,
    covariates,
    likelihood_rows,
    to_arrays,
    to_priors,
)
from ketacast.errors import RecipeError
from ketacast.evidence import Evidence, load_evidence
from ketacast.numerics.hierarchical import equal_draws, fit_posterior
from ketacast.numerics.hierarchical.model import check_model

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"


@cache
def evidence() -> Evidence:
    return load_evidence(MODEL / "evidence")


@cache
def recipe() -> Recipe:
    return load_recipe(MODEL / "recipe.toml")


def rows() -> tuple[LikelihoodRow, ...]:
    return likelihood_rows(evidence(), recipe())


def with_rules(**changes: object) -> Recipe:
    return replace(recipe(), data=replace(recipe().data, **changes))  # type: ignore[arg-type]


def test_thirty_rows_of_twenty_four_families() -> None:
    found = basis(rows())
    assert (found.cohorts, found.rows) == (24, 30)
    assert found.patients == sum(
        max(row.n for row in rows() if row.family == family)
        for family in {row.family for row in rows()}
    )
    arrays = to_arrays(rows(), recipe())
    assert arrays.n_families == 24
    pairs = sum(row.kind == "pair" for row in rows())
    assert arrays.kind.size == 30 + pairs
    check_model(arrays, to_priors(evidence(), recipe()))


@pytest.mark.parametrize(
    ("infusions", "doublings"), [(6, 0.0), (3, -1.0), (1, -math.log2(6)), (8, math.log2(8 / 6)),
                                 (30, math.log2(8 / 6))]
)  # fmt: skip
def test_covariates(infusions: float, doublings: float) -> None:
    x, s, failed = covariates(infusions, 9.0, -0.5, recipe().data)
    assert x == pytest.approx(doublings, abs=1e-15)
    assert (s, failed) == (-0.5, 3.0)


def test_coding_of_each_kind() -> None:
    base = rows()[0]
    made = [
        replace(base, family="a", kind="pair", n=20, responders=9, remitters=4, rater=0.5,
                infusions=3.0, failed_trials=8.0),
        replace(base, family="b", kind="response", n=30, responders=10, remitters=-1),
        replace(base, family="c", kind="remission", n=40, responders=-1, remitters=7),
    ]  # fmt: skip
    arrays = to_arrays(made, recipe())
    assert arrays.kind.tolist() == [0, 1, 0, 2]
    assert arrays.count.tolist() == [9, 4, 10, 7]
    assert arrays.total.tolist() == [20, 9, 30, 40]
    assert arrays.family.tolist() == [0, 0, 1, 2]
    assert arrays.slope[0] == -1.0
    assert arrays.x_response[0].tolist() == [1.0, -1.0, 0.5, 2.0, 0, 0, 0, 0]
    assert arrays.x_remission[1].tolist() == [0, 0, 0, 0, 1.0, -1.0, 0.5, 2.0]
    assert basis(made).patients == 90


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_order_of_the_evidence_does_not_matter(shuffle: object) -> None:
    outcomes, cohorts = list(evidence().outcomes), list(evidence().cohorts)
    shuffle.shuffle(outcomes)  # type: ignore[attr-defined]
    shuffle.shuffle(cohorts)  # type: ignore[attr-defined]
    shuffled = replace(evidence(), outcomes=tuple(outcomes), cohorts=tuple(cohorts))
    assert likelihood_rows(shuffled, recipe()) == rows()


def test_shuffled_evidence_gives_the_same_bytes() -> None:
    turned = replace(
        evidence(),
        outcomes=tuple(reversed(evidence().outcomes)),
        cohorts=tuple(reversed(evidence().cohorts)),
        contrasts=tuple(reversed(evidence().contrasts)),
    )
    draws = [
        equal_draws(
            fit_posterior(
                to_arrays(likelihood_rows(one, recipe()), recipe()),
                to_priors(one, recipe()),
                1024,
            ),
            512,
        )
        for one in (evidence(), turned)
    ]
    for name in ("beta", "tau", "scores"):
        assert getattr(draws[0], name).tobytes() == getattr(draws[1], name).tobytes()


def test_every_cohort_again_as_a_new_family_narrows_the_average_clinic() -> None:
    again = [replace(row, family=f"{row.family} again") for row in rows()]
    priors = to_priors(evidence(), recipe())
    widths = []
    for one in (list(rows()), sorted([*rows(), *again])):
        posterior = fit_posterior(to_arrays(one, recipe()), priors, 2048)
        logits = posterior.beta[:, :1] - 0.5 * posterior.beta[:, 2:3]
        order = np.argsort(logits[:, 0])
        cumulative = np.cumsum(posterior.weight[order])
        low, high = (logits[order, 0][np.searchsorted(cumulative, p)] for p in (0.1, 0.9))
        widths.append(high - low)
    assert widths[1] < 0.85 * widths[0]  # towards one over the root of two


def test_rules_choose_rows() -> None:
    without = likelihood_rows(evidence(), with_rules(exclude_families=("guangzhou",)))
    assert {row.family for row in rows()} - {row.family for row in without} == {"guangzhou"}
    unpaired = likelihood_rows(evidence(), with_rules(unpaired_cohorts=("anand2023",)))
    kinds = sorted(row.kind for row in unpaired if row.cohort_id == "anand2023")
    assert kinds == ["remission", "response"]
    primary = likelihood_rows(evidence(), with_rules(model_use=("primary",)))
    assert len(primary) < len(rows())
    assumed = likelihood_rows(evidence(), with_rules(drop_assumed_denominators=True))
    assert len(assumed) < len(rows())
    for name, _, variant in recipe().sensitivity:
        assert len(likelihood_rows(evidence(), variant)) >= 20, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude_families": ("nobody",)}, "nobody"),
        ({"unpaired_cohorts": ("nobody",)}, "nobody"),
        ({"include": (("nobody", "end"),)}, "nobody"),
        ({"model_use": ()}, "no outcome row"),
    ],
)
def test_rules_that_name_nothing_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        likelihood_rows(evidence(), with_rules(**changes))


def test_more_remitters_than_responders_are_refused() -> None:
    outcomes = tuple(
        replace(row, events=row.n)
        if row.cohort_id == "anand2023" and row.outcome == "remission"
        else row
        for row in evidence().outcomes
    )
    with pytest.raises(RecipeError, match="anand2023"):
        likelihood_rows(replace(evidence(), outcomes=outcomes), recipe())


def test_two_rows_of_one_count_are_refused() -> None:
    first = next(row for row in evidence().outcomes if row.model_use == "primary")
    with pytest.raises(RecipeError, match=first.cohort_id):
        likelihood_rows(replace(evidence(), outcomes=(*evidence().outcomes, first)), recipe())


def test_the_contrast_enters_the_prior() -> None:
    priors = to_priors(evidence(), recipe())
    place = COEFFICIENTS.index("g_M")
    # MODEL: -0.688 ~ N(1.75 g_M, 0.259^2 + 0.30^2) with g_M ~ N(0, 0.15^2).
    variance = 0.259**2 + 0.30**2
    precision = 0.15**-2 + 1.75**2 / variance
    assert priors.precision[place, place] == pytest.approx(precision, rel=1e-12)
    mean = 1.75 * -0.688 / variance / precision
    assert priors.mean[place] == pytest.approx(mean, rel=1e-12)
    assert np.count_nonzero(priors.precision) == 8
    assert priors.tau_scale.tolist() == [1.0, 1.0, 0.5]


def test_a_contrast_may_bring_its_own_numbers() -> None:
    own = ContrastUse("own", "g_R", 2.0, 0.0, log_or=-1.0, se=0.5)
    priors = to_priors(evidence(), replace(recipe(), contrasts=(own,)))
    place = COEFFICIENTS.index("g_R")
    assert priors.precision[place, place] == pytest.approx(0.1**-2 + 4.0 / 0.25)


def test_unknown_contrasts_are_refused() -> None:
    unknown = ContrastUse("nobody", "g_M", 1.0, 0.0)
    with pytest.raises(RecipeError, match="nobody"):
        to_priors(evidence(), replace(recipe(), contrasts=(unknown,)))


def test_fixed_coefficients_stay_where_they_are() -> None:
    fixed = {**recipe().priors, "g_R": NormalPrior(0.0, 0.0)}
    priors = to_priors(evidence(), replace(recipe(), priors=fixed))
    posterior = fit_posterior(to_arrays(rows(), recipe()), priors, 1024)
    at = COEFFICIENTS.index("g_R")
    assert abs(posterior.mean()[at]) < 1e-6
    assert posterior.sd()[at] < 1e-5
