"""Leave one out, sensitivity, simulation and the files they give, on small evidence."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ketacast.clinical.crossvalidation import LeaveOneOut, leave_one_cohort_out, log_predictive
from ketacast.clinical.fit import fit_model
from ketacast.clinical.parallel import map_in_order
from ketacast.clinical.recipe import Recipe, load_recipe
from ketacast.clinical.rows import likelihood_rows, to_arrays
from ketacast.clinical.sensitivity import compare_published, sensitivity
from ketacast.clinical.simulation import (
    DEFAULT_REPLICATES,
    simulate,
    simulation_based_calibration,
)
from ketacast.clinical.validation import (
    Validation,
    kept_sections,
    kept_simulation,
    validate,
    write_validation,
)
from ketacast.clinical.validation_text import validation_lines, validation_page
from ketacast.errors import InputError, MissingDependencyError
from ketacast.evidence import Evidence, load_evidence

MODEL = Path(__file__).parents[2] / "models" / "ketamine-trd"

KEPT = ("biok2023", "griffiths2019", "pfeiffer2024", "su2023", "yale")
"""A pair with a time-course row, an unpaired family, a mean number of failed
trials, a single infusion, an unclear rater."""

#: Two predictive probabilities of the same counts from 512 draws each.
DRAWS_APART = 0.25


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return load_evidence(MODEL / "evidence")


@pytest.fixture(scope="module")
def recipe(evidence: Evidence) -> Recipe:
    """The real recipe on five families with few points: seconds instead of minutes."""
    full = load_recipe(MODEL / "recipe.toml")
    families = {row.family for row in likelihood_rows(evidence, full)}
    left = tuple(sorted(families - set(KEPT)))

    def small(one: Recipe) -> Recipe:
        data = replace(one.data, exclude_families=left)
        # Courses and durability have tests of their own (test_course_study.py).
        return replace(
            one, data=data, points=512, draws=512, sensitivity=(), dynamics=None, durability=None
        )

    variants = tuple(
        (name, title, small(one))
        for name, title, one in full.sensitivity
        if name in ("gap_1.0", "slopes_0")
    )
    return replace(small(full), sensitivity=variants)


@pytest.fixture(scope="module")
def validation(evidence: Evidence, recipe: Recipe) -> Validation:
    return validate(evidence, recipe, replicates=4, seed=1)


def test_every_count_is_predicted_once(
    evidence: Evidence, recipe: Recipe, validation: Validation
) -> None:
    rows = likelihood_rows(evidence, recipe)
    counts = sum(2 if row.kind == "pair" else 1 for row in rows)
    assert len(validation.rows) == counts
    assert {row.family for row in validation.rows} == set(KEPT)
    assert sum(not row.primary for row in validation.rows) == 1
    assert len({(r.family, r.outcome) for r in validation.rows if r.primary}) == sum(
        row.primary for row in validation.rows
    )
    for row in validation.rows:
        narrow, wide = row.intervals
        assert 0 <= wide.low <= narrow.low <= narrow.high <= wide.high <= row.n
        assert narrow.covered == (narrow.low <= row.observed <= narrow.high)
        assert 0.0 < row.pit < 1.0
        assert row.log_score < 0.0


def test_a_family_does_not_see_its_own_counts(evidence: Evidence, recipe: Recipe) -> None:
    """Altered counts of one family leave its own prediction as it was."""
    changed = replace(
        evidence,
        outcomes=tuple(
            replace(row, events=0 if row.outcome == "remission" else 1)
            if row.cohort_id == "pfeiffer2024" and row.model_use
            else row
            for row in evidence.outcomes
        ),
    )
    before, after = (
        _of(leave_one_cohort_out(e, recipe), "pfeiffer2024") for e in (evidence, changed)
    )
    assert before == after


def _of(found: LeaveOneOut, family: str) -> list[tuple[float, int]]:
    return [
        (row.expected_rate, row.intervals[0].high) for row in found.rows if row.family == family
    ]


def test_joint_score_of_a_single_count_is_its_own(
    evidence: Evidence, recipe: Recipe, validation: Validation
) -> None:
    score = next(one for one in validation.scores if one.family == "su2023")
    row = next(one for one in validation.rows if one.family == "su2023")
    assert score.log_score == pytest.approx(row.log_score, rel=1e-9)


def test_joint_score_of_a_pair_is_near_more_draws(evidence: Evidence, recipe: Recipe) -> None:
    rows = [row for row in likelihood_rows(evidence, recipe) if row.family == "yale"]
    reduced = replace(
        recipe, data=replace(recipe.data, exclude_families=(*recipe.data.exclude_families, "yale"))
    )
    few = fit_model(evidence, reduced).draws
    many = fit_model(evidence, replace(reduced, points=4096, draws=4096)).draws
    assert log_predictive(rows, recipe, few) == pytest.approx(
        log_predictive(rows, recipe, many), abs=DRAWS_APART
    )


def test_too_few_families_are_refused(evidence: Evidence, recipe: Recipe) -> None:
    left = (*recipe.data.exclude_families, *KEPT[2:])
    two = replace(recipe, data=replace(recipe.data, exclude_families=left))
    with pytest.raises(InputError, match="2 families"):
        leave_one_cohort_out(evidence, two)


def test_sensitivity_names_the_changes(
    evidence: Evidence, recipe: Recipe, validation: Validation
) -> None:
    base, gap, slopes = validation.sensitivity
    assert (base.name, base.expected_change) == ("base", None)
    assert [gap.name, slopes.name] == ["gap_1.0", "slopes_0"]
    assert gap.mean["g_M"] != base.mean["g_M"]
    assert slopes.sd["g_M"] < 1e-5
    assert slopes.expected_change is not None
    assert slopes.expected_change.size == pytest.approx(
        max(abs(a.expected - b.expected) for a, b in zip(slopes.answers, base.answers, strict=True))
    )
    by_inputs = {(a.outcome, a.failed_trials, a.rater): a for a in slopes.answers}
    # No slope: the number of failed trials makes no difference.
    assert by_inputs["remission", 2, "self"].expected == pytest.approx(
        by_inputs["remission", 10, "self"].expected, abs=1e-4
    )
    assert sensitivity(evidence, replace(recipe, sensitivity=()))[0] == base


def test_published_values_come_from_the_evidence(evidence: Evidence, recipe: Recipe) -> None:
    altered = replace(
        evidence,
        syntheses=tuple(
            replace(row, value="12.5") if row.quantity == "pooled response %" else row
            for row in evidence.syntheses
        ),
    )
    response, _ = compare_published(altered, recipe)
    assert response.published == pytest.approx(0.125)
    response, remission = compare_published(replace(evidence, syntheses=()), recipe)
    assert (response.published, remission.published_ci, remission.source) == (None, None, "")


def test_simulation_does_not_depend_on_the_number_of_processes(
    evidence: Evidence, recipe: Recipe, validation: Validation
) -> None:
    told: list[tuple[str, int, int]] = []
    check = simulation_based_calibration(
        evidence,
        recipe,
        replicates=4,
        seed=1,
        n_jobs=2,
        progress=lambda *state: told.append(state),
    )
    assert check == validation.simulation
    assert told[-1] == ("simulation", 4, 4)
    assert check.failures == 4 - len(check.parameters[0].positions)
    other = simulation_based_calibration(evidence, recipe, replicates=4, seed=2)
    assert other.parameters != check.parameters


def test_simulated_counts_follow_the_design(evidence: Evidence, recipe: Recipe) -> None:
    design = to_arrays(likelihood_rows(evidence, recipe), recipe)
    streams = np.random.SeedSequence(3).spawn(50)
    contrasts = []
    for stream in streams:
        one = simulate(evidence, recipe, stream)
        assert (one.rows.count <= one.rows.total).all()
        pairs = np.flatnonzero(design.kind == 1)
        np.testing.assert_array_equal(one.rows.total[pairs], one.rows.count[pairs - 1])
        alone = design.kind != 1
        np.testing.assert_array_equal(one.rows.total[alone], design.total[alone])
        contrasts.append(one.contrasts[0].log_or)
    assert len(set(contrasts)) == 50


@pytest.mark.parametrize(("replicates", "seed"), [(1, 0), (True, 0), (4, -1), (4, 1.5)])
def test_unusable_simulation_settings_are_refused(
    evidence: Evidence, recipe: Recipe, replicates: int, seed: int
) -> None:
    with pytest.raises(InputError, match="whole number"):
        simulation_based_calibration(evidence, recipe, replicates=replicates, seed=seed)


def test_unusable_number_of_processes_is_refused() -> None:
    with pytest.raises(InputError, match="n_jobs"):
        map_in_order(str, [1, 2], n_jobs=0)


def test_files_are_whole_repeatable_and_plain(validation: Validation, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first = write_validation(validation, tmp_path / "a", tmp_path / "a" / "docs")
    second = write_validation(validation, tmp_path / "b", tmp_path / "b" / "docs")
    assert [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    content = json.loads((tmp_path / "a" / "validation.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(validation.to_dict()))
    assert len(content["rows"]) == len(validation.rows)
    drawn = {path.name for path in first if path.suffix == ".svg"}
    page = (tmp_path / "a" / "docs" / "validation.md").read_text(encoding="utf-8")
    assert len(drawn) == 3
    assert all(f"(images/{name})" in page for name in drawn)


def test_simulation_is_kept_for_the_same_inputs_alone(
    validation: Validation, tmp_path: Path
) -> None:
    write_validation(validation, tmp_path)
    identity = {
        name: getattr(validation, name)
        for name in ("model", "version", "code_version", "evidence_sha256", "recipe_sha256")
    }
    kept = kept_simulation(tmp_path, identity)
    assert kept is not None
    assert validation.simulation is not None
    assert replace(validation, simulation=kept).to_dict() == validation.to_dict()
    assert kept_simulation(tmp_path, {**identity, "evidence_sha256": "0"}) is None
    assert kept_simulation(tmp_path / "nowhere", identity) is None
    (tmp_path / "validation.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        kept_simulation(tmp_path, identity)


def test_further_sections_are_kept_and_printed(validation: Validation, tmp_path: Path) -> None:
    assert validation.further == {}
    study = {"scenario": "model", "clinics": 20, "seed": 1, "updates": 20, "refits": 1,
             "refits_compared": 2, "refit_gap": 0.0042,
             "coverage": [{"patients": 10, "outcome": "response", "level": level, "share": 0.85,
                           "se": 0.02, "width": 0.4, "bias": 0.01}
                          for level in (0.8, 0.95)]}  # fmt: skip
    whole = replace(validation, further={"updating": [study]})
    write_validation(whole, tmp_path)
    content = json.loads((tmp_path / "validation.json").read_text(encoding="utf-8"))
    assert content["updating"] == [study]
    assert list(content)[: len(validation.to_dict())] == list(validation.to_dict())
    identity = {name: content[name] for name in ("model", "version", "recipe_sha256")}
    assert kept_sections(tmp_path, identity) == {"updating": [study]}
    assert kept_sections(tmp_path, {**identity, "recipe_sha256": "0"}) == {}
    assert kept_sections(tmp_path / "nowhere", identity) == {}
    assert "Clinics from the model itself (20):" in validation_page(whole)
    assert "20 clinics per scenario" not in validation_page(validation)
    assert max(len(line) for line in validation_lines(whole)) <= 80


def test_quick_keeps_simulations_and_takes_extra_sections(
    evidence: Evidence, recipe: Recipe, validation: Validation, tmp_path: Path
) -> None:
    alone = replace(recipe, sensitivity=())
    kept = replace(validation, further={"midcourse": [], "dynamics_check": {}})
    write_validation(kept, tmp_path)
    found = validate(evidence, alone, quick=True, directory=tmp_path, extra={"updating": []})
    # What takes no simulation is computed anew, and this recipe has no dynamics.
    assert found.further == {"midcourse": [], "updating": []}
    assert found.simulation is not None
    assert found.simulation.replicates == 4


def test_unknown_extra_sections_are_refused(evidence: Evidence, recipe: Recipe) -> None:
    with pytest.raises(InputError, match="'rows'"):
        validate(evidence, recipe, quick=True, extra={"rows": []})


def test_tables_fit_a_terminal(validation: Validation) -> None:
    assert max(len(line) for line in validation_lines(validation)) <= 80
    without = validation_page(replace(validation, simulation=None))
    assert "Not run for these inputs" in without
    long = [line for line in without.splitlines() if len(line) > 80 and not line.startswith("![")]
    assert long == []


def test_figures_without_matplotlib_say_what_to_install(
    validation: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"ketacast\[plots\]"):
        write_validation(validation, tmp_path, tmp_path / "docs")
    assert not list(tmp_path.iterdir())


def test_stored_validation_belongs_to_the_model(evidence: Evidence) -> None:
    content = json.loads((MODEL / "validation.json").read_text(encoding="utf-8"))
    recipe = load_recipe(MODEL / "recipe.toml")
    assert content["evidence_sha256"] == evidence.sha256
    assert content["recipe_sha256"] == recipe.sha256
    assert content["simulation"]["replicates"] >= DEFAULT_REPLICATES


@pytest.mark.slow
def test_ranks_are_uniform(evidence: Evidence) -> None:
    recipe = load_recipe(MODEL / "recipe.toml")
    check = simulation_based_calibration(evidence, recipe, n_jobs=2)
    assert check.failures == 0
    assert check.bonferroni_p > 0.05
