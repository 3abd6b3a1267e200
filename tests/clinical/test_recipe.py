"""Every fault of a recipe is refused with the entry named."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ketacast.clinical.recipe import (
    COEFFICIENTS,
    MEANINGS,
    TAUS,
    NormalPrior,
    load_recipe,
    parse_recipe,
    without_moderators,
)
from ketacast.errors import RecipeError

RECIPE = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd" / "recipe.toml"
Change = Callable[[dict[str, Any]], None]


def table() -> dict[str, Any]:
    return tomllib.loads(RECIPE.read_text(encoding="utf-8"))


def put(path: str, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value

    return change


def drop(path: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        del place[last]

    return change


def test_the_recipe_of_the_model() -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.name == "ketamine-trd"
    assert set(recipe.priors) == set(COEFFICIENTS)
    assert set(recipe.half_normal) == set(TAUS)
    assert set(MEANINGS) == set(COEFFICIENTS) | set(TAUS)
    # MODEL: the stated priors.
    assert {name: prior.sd for name, prior in recipe.priors.items()} == {
        "a_R": 1.5, "a_M": 1.5, "b_R": 0.5, "b_M": 0.5,
        "h_R": 1.0, "h_M": 1.0, "g_R": 0.10, "g_M": 0.15,
    }  # fmt: skip
    assert all(prior.mean == 0.0 for prior in recipe.priors.values())
    assert dict(recipe.half_normal) == {"tau_R": 1.0, "tau_M": 1.0, "tau_b": 0.5}
    (contrast,) = recipe.contrasts
    assert (contrast.coefficient, contrast.gap, contrast.omega) == ("g_M", 1.75, 0.30)
    assert (recipe.points, recipe.draws) == (8192, 4096)


def test_sensitivity_analyses_change_only_what_they_say() -> None:
    recipe = load_recipe(RECIPE)
    variants = {name: variant for name, _, variant in recipe.sensitivity}
    stated = "omega_0 omega_0.5 gap_1.0 gap_2.5 lucchese anchor_p priors_x2 slopes_0 added_cohorts"
    stated += " anand_unpaired printed_denominators"
    assert set(stated.split()) <= set(variants)
    doubled = variants["priors_x2"]
    for name, prior in recipe.priors.items():
        assert doubled.priors[name] == NormalPrior(prior.mean, 2.0 * prior.sd)
    assert all(doubled.half_normal[k] == 2.0 * v for k, v in recipe.half_normal.items())
    assert doubled.contrasts == recipe.contrasts
    slopes = variants["slopes_0"]
    assert slopes.priors["g_R"].sd == slopes.priors["g_M"].sd == 0.0
    assert slopes.priors["a_R"] == recipe.priors["a_R"]
    assert variants["omega_0"].contrasts[0].omega == 0.0
    assert variants["omega_0"].priors == recipe.priors
    assert all(variant.sensitivity == () for variant in variants.values())
    assert variants["printed_denominators"].data.drop_assumed_denominators


def test_without_moderators_keeps_the_intercepts() -> None:
    plain = without_moderators(load_recipe(RECIPE))
    assert {name for name, prior in plain.priors.items() if prior.sd > 0} == {"a_R", "a_M"}
    assert plain.half_normal["tau_b"] == 0.0
    assert plain.contrasts == ()


def test_line_endings_do_not_change_the_hash(tmp_path: Path) -> None:
    copied = tmp_path / "recipe.toml"
    copied.write_bytes(RECIPE.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert load_recipe(copied) == load_recipe(RECIPE)


FAULTS: list[tuple[Change, str]] = [
    (put("schema", 2), "schema is 2"),
    (drop("schema"), "schema is None"),
    (put("extra", 1), "'extra'"),
    (drop("model"), r"\[model\]"),
    (put("model", 3), r"\[model\]"),
    (put("model.name", ""), "name is ''"),
    (put("model.version", 1.0), "version is 1.0"),
    (drop("model.title"), "title is None"),
    (put("model.owner", "x"), "'owner'"),
    (drop("data"), r"\[data\]"),
    *((drop(f"data.{key}"), key) for key in table()["data"]),
    (put("data.colour", 1), "'colour'"),
    (put("data.model_use", "primary"), "model_use is 'primary'"),
    (put("data.model_use", [1]), "model_use"),
    (put("data.exclude_families", [True]), "exclude_families"),
    (put("data.unpaired_cohorts", "anand2023"), "unpaired_cohorts"),
    (put("data.reference_infusions", 0), "reference_infusions is 0"),
    (put("data.reference_infusions", True), "reference_infusions is True"),
    (put("data.reference_infusions", "6"), "reference_infusions is '6'"),
    (put("data.reference_infusions", float("nan")), "reference_infusions is nan"),
    (put("data.unknown_infusions", float("inf")), "unknown_infusions is inf"),
    (put("data.reference_failed_trials", -1), "reference_failed_trials is -1"),
    (put("data.plateau_infusions", 8.0), "plateau_infusions is 8.0"),
    (put("data.plateau_infusions", 0), "plateau_infusions is 0"),
    (put("data.drop_assumed_denominators", 1), "drop_assumed_denominators"),
    (put("data.include", ["mcinnes2022"]), "include 'mcinnes2022'"),
    (put("data.include", [{"cohort": "mcinnes2022"}]), "include"),
    (drop("support"), r"\[support\]"),
    *((drop(f"support.{key}"), key) for key in table()["support"]),
    (put("support.failed_trials", [12, 2]), "failed_trials is"),
    (put("support.failed_trials", [2]), "failed_trials is"),
    (put("support.infusions", [1, 8.5]), "infusions is"),
    (put("support.infusions", [True, 8]), "infusions is"),
    (put("support.infusions_answered", [1, 400]), "infusions_answered is"),
    (put("support.age", [1, 2]), "'age'"),
    (drop("draws"), r"\[draws\]"),
    (put("draws.points", 1000), "points is 1000"),
    (put("draws.points", 8192.0), "points is 8192.0"),
    (put("draws.count", 128), "count is 128"),
    (put("draws.count", True), "count is True"),
    (drop("draws.count"), "count is None"),
    (put("draws.seed", 1), "'seed'"),
    (drop("priors"), r"\[priors\]"),
    *((drop(f"priors.{name}"), name) for name in COEFFICIENTS),
    *((drop(f"priors.{name}.sd"), f"priors.{name}. sd is None") for name in COEFFICIENTS),
    (put("priors.a_R.sd", -1), "priors.a_R. sd is -1"),
    (put("priors.a_R.sd", float("nan")), "priors.a_R. sd is nan"),
    (put("priors.a_R.mean", "0"), "priors.a_R. mean is '0'"),
    (put("priors.a_R.skew", 1), "'skew'"),
    (put("priors.a_X", {"mean": 0, "sd": 1}), "'a_X'"),
    (drop("half_normal"), r"\[half_normal\]"),
    *((drop(f"half_normal.{name}"), f"{name} is None") for name in TAUS),
    (put("half_normal.tau_R", -0.1), "tau_R is -0.1"),
    (put("half_normal.tau_X", 1), "'tau_X'"),
    (put("contrasts.0.coefficient", "z"), "coefficient 'z'"),
    (put("contrasts.0.gap", 0), "gap is 0"),
    (put("contrasts.0.omega", -1), "omega is -1"),
    (put("contrasts.0.id", 3), "id is 3"),
    (put("contrasts.0.log_or", 0.1), "se is None"),
    (put("contrasts.0.se", 0.1), "log_or is None"),
    (put("contrasts.0.note", "x"), "'note'"),
    (drop("contrasts.0.omega"), "omega is None"),
    (put("sensitivity.0.name", "gap_1.0"), "repeat"),
    (put("sensitivity.0.title", ""), "title is ''"),
    (drop("sensitivity.0.name"), "name is None"),
    (put("sensitivity.0.draws", {}), "'draws'"),
    (put("sensitivity.6.scale_priors", 0), "scale_priors is 0"),
    (put("sensitivity.6.scale_priors", True), "scale_priors is True"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[str(i) for i in range(len(FAULTS))])
def test_faults_are_named(change: Change, message: str) -> None:
    document = copy.deepcopy(table())
    change(document)
    with pytest.raises(RecipeError, match=message):
        parse_recipe(document, "0" * 64)


WRONG_TYPES: list[tuple[Change, str]] = [
    (put("data.include", 3), "include"),
    (put("contrasts", "sustain1"), "contrasts"),
    (put("contrasts", ["sustain1"]), "contrasts"),
    (put("sensitivity", "none"), "sensitivity"),
    (put("sensitivity", ["none"]), "sensitivity"),
    (put("sensitivity.7.priors", 3), "priors"),
    (put("sensitivity.7.priors", {"g_R": 0.0}), "g_R"),
    (put("sensitivity.0.data", 3), "data"),
    (put("data", []), "data"),
    (put("priors.a_R", 1.5), "a_R"),
    (put("priors.a_R.sd", "wide"), "sd"),
    (put("half_normal.tau_R", "1"), "tau_R"),
]


@pytest.mark.parametrize(
    ("change", "message"), WRONG_TYPES, ids=[str(i) for i in range(len(WRONG_TYPES))]
)
def test_wrong_types_are_named(change: Change, message: str) -> None:
    document = copy.deepcopy(table())
    change(document)
    with pytest.raises(RecipeError, match=message):
        parse_recipe(document, "0" * 64)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path / "none.toml")
    broken = tmp_path / "recipe.toml"
    for content in (b"[model", b"\xff\xfe", b"schema = 1\nschema = 1\n"):
        broken.write_bytes(content)
        with pytest.raises(RecipeError, match="not valid TOML"):
            load_recipe(broken)
