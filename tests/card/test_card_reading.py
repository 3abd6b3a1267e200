"""Reading a card: numbers follow the files, faults are named."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ketacast.card import CARD_FORMATS, load_card, render_card
from ketacast.card.figures import fill
from ketacast.card.reading import build_card
from ketacast.card.sources import Sources, load_sources
from ketacast.clinical.artifact import digest_of
from ketacast.errors import ArtifactError, MissingDependencyError

MODEL = Path(__file__).parents[2] / "models" / "ketamine-trd"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the product's model that a test may change."""
    draws = shutil.ignore_patterns("*.npz")
    return shutil.copytree(MODEL, tmp_path / "model", ignore=draws)


@pytest.fixture(scope="module")
def sources() -> Sources:
    return load_sources()


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((MODEL / "card.yaml").read_text(encoding="utf-8"))
    return found


def change_validation(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = model / "validation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def change_artifact(model: Path, old: bytes, new: bytes) -> None:
    """Change the artifact and sign it again, as a rebuilt model would be."""
    path = model / "artifact.json"
    raw = path.read_bytes()
    recorded = json.loads(raw)["sha256"].encode()
    assert raw.count(old) == 1
    changed = raw.replace(old, new)
    path.write_bytes(changed.replace(recorded, digest_of(changed).encode(), 1))


def test_the_copy_reads_like_the_product(model: Path) -> None:
    assert load_card(model) == load_card()


def test_numbers_follow_a_rebuilt_artifact(model: Path) -> None:
    change_artifact(model, b'"patients": 1805', b'"patients": 4321')
    card = load_card(model)
    for form in CARD_FORMATS:
        text = render_card(card, form)
        assert "4,321 patients" in text
        assert "1,805" not in text


def test_numbers_follow_a_new_validation(model: Path) -> None:
    def fewer(content: dict[str, Any]) -> None:
        for entry in content["coverage"]:
            if entry["group"] == "both" and entry["result"]["level"] == 0.8:
                entry["result"]["count"] = 9
                entry["result"]["total"] = 40

    change_validation(model, fewer)
    card = load_card(model)
    assert "9 of 40 lay in their 80 % interval (22 %" in " ".join(render_card(card).split())
    (result, *_) = card.applied.metrics["UsefulnessUsabilityEfficacy"].results
    assert result.value == 22


def test_one_line_turns_a_capability_off(model: Path) -> None:
    before = render_card(load_card(model))
    assert "A service answers other programs over HTTP" in " ".join(before.split())
    path = model / "card.yaml"
    text = path.read_text(encoding="utf-8")
    old = "name: service\n    available: true"
    assert text.count(old) == 1
    path.write_text(text.replace(old, old.replace("true", "false")), encoding="utf-8")
    after = " ".join(render_card(load_card(model)).split())
    assert "A service answers" not in after
    assert "There is no server, web page or link to a record system" in after


CARD_FAULTS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("attribute missing", lambda c: c["source_attributes"].pop("funding"), "missing ['funding']"),
    (
        "attribute unknown",
        lambda c: c["source_attributes"].update(extra="x"),
        "unknown ['extra']",
    ),
    (
        "attribute blank",
        lambda c: c["source_attributes"].update(funding=" "),
        "source_attributes.funding is blank",
    ),
    (
        "attribute none",
        lambda c: c["source_attributes"].update(funding=None),
        "source_attributes.funding is None",
    ),
    (
        "attribute without reason",
        lambda c: c["source_attributes"].update(funding={"not_available": ""}),
        "source_attributes.funding is blank",
    ),
    (
        "attribute with an empty list",
        lambda c: c["source_attributes"].update(funding={"show": []}),
        "funding.show is []",
    ),
    (
        "unknown text",
        lambda c: c["source_attributes"].update(funding={"show": ["nowhere"]}),
        "no text is named 'nowhere'",
    ),
    ("item missing", lambda c: c["tripod_ai"].pop("12g"), "missing ['12g']"),
    (
        "item without place",
        lambda c: c["tripod_ai"].update({"1": {"at": []}}),
        "tripod_ai.1.at is []",
    ),
    (
        "item with unknown page",
        lambda c: c["tripod_ai"].update({"1": {"at": ["nowhere: x"]}}),
        "no page is named 'nowhere'",
    ),
    (
        "item without reason",
        lambda c: c["tripod_ai"].update({"1": {"not_applicable": ""}}),
        "tripod_ai.1 is blank",
    ),
    (
        "field missing",
        lambda c: c["chai"]["Warnings"].pop("ClinicalRiskLevel"),
        "ClinicalRiskLevel",
    ),
    (
        "no results",
        lambda c: c["chai"]["KeyMetrics"]["FairnessEquity"].pop("Results"),
        "FairnessEquity.Results is []",
    ),
    (
        "result that is no number",
        lambda c: c["chai"]["KeyMetrics"]["FairnessEquity"]["Results"][0].update(value="many"),
        "'many', which is no number",
    ),
    (
        "typed result",
        lambda c: c["chai"]["KeyMetrics"]["FairnessEquity"]["Results"][0].update(value=24),
        "is 24; give a text",
    ),
    ("unknown figure", lambda c: c["texts"].update(summary="{cohort}"), "use cohorts"),
    ("lone brace", lambda c: c["texts"].update(summary="a { b"), "brace without its partner"),
    ("control character", lambda c: c["texts"].update(summary="a\x07b"), "control character"),
    ("empty points", lambda c: c["texts"].update(limits=[]), "texts.limits is an empty list"),
    ("number as text", lambda c: c["texts"].update(summary=24), "texts.summary is 24"),
    ("unknown table", lambda c: c["sections"][0].update(tables=["x"]), "no table is named 'x'"),
    ("unknown part", lambda c: c.update(extra={}), "unknown ['extra']"),
    ("other schema", lambda c: c.update(schema=2), "schema is 2"),
    ("date as text", lambda c: c.update(updated="yesterday"), "give a date as YYYY-MM-DD"),
    (
        "release of another version",
        lambda c: c["release"].update(version="9.9.9"),
        "release.version is '9.9.9'",
    ),
    (
        "capability neither on nor off",
        lambda c: c["capabilities"][0].update(available="soon"),
        "available is 'soon'",
    ),
    (
        "capability with the name of a text",
        lambda c: c["capabilities"][0].update(name="summary"),
        "'summary' is also another text",
    ),
    ("year as text", lambda c: c["references"][0].update(year="2022"), "references[0].year"),
    ("texts as a list", lambda c: c.update(texts=["a"]), "texts is ['a']"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [pytest.param(change, message, id=name) for name, change, message in CARD_FAULTS],
)
def test_faults_of_a_card_are_named(
    content: dict[str, Any],
    sources: Sources,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    changed = copy.deepcopy(content)
    change(changed)
    with pytest.raises(ArtifactError) as caught:
        build_card(changed, sources)
    assert message in str(caught.value)


def test_a_repeated_key_is_refused(model: Path) -> None:
    path = model / "card.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\nschema: 1\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="'schema' appears twice"):
        load_card(model)


@pytest.mark.parametrize("text", ["a: [", "!!python/object:os.system {}", "- a\n- b"])
def test_a_file_that_is_no_card_is_refused(model: Path, text: str) -> None:
    (model / "card.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"card\.yaml"):
        load_card(model)


def test_a_missing_card_is_refused(model: Path) -> None:
    (model / "card.yaml").unlink()
    with pytest.raises(ArtifactError, match=r"cannot read .*card\.yaml"):
        load_card(model)


def test_a_missing_validation_says_how_to_make_it(model: Path) -> None:
    (model / "validation.json").unlink()
    with pytest.raises(ArtifactError, match="ketacast validate"):
        load_card(model)


VALIDATION_FAULTS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("other evidence", lambda c: c.update(evidence_sha256="0" * 64), "run `ketacast validate`"),
    ("other recipe", lambda c: c.update(recipe_sha256="0" * 64), "run `ketacast validate`"),
    ("other schema", lambda c: c.update(schema_version=2), "schema version 2"),
    ("no simulation", lambda c: c.update(simulation=None), "without --quick"),
    ("no coverage", lambda c: c.update(coverage=[]), "hold nothing for the figure 'inside_80'"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [pytest.param(change, message, id=name) for name, change, message in VALIDATION_FAULTS],
)
def test_a_validation_of_something_else_is_refused(
    model: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_validation(model, change)
    with pytest.raises(ArtifactError) as caught:
        load_card(model)
    assert message in str(caught.value)


def test_a_truncated_validation_is_refused(model: Path) -> None:
    (model / "validation.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="not complete JSON"):
        load_card(model)


def test_evidence_and_recipe_of_another_model_are_refused(model: Path) -> None:
    recipe = model / "recipe.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"the recipe\.toml has sha256 .* run `ketacast fit`"):
        load_card(model)


def test_without_pyyaml_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)  # how Python marks what cannot be imported
    with pytest.raises(MissingDependencyError, match="pip install PyYAML"):
        load_card()


def test_importing_the_card_loads_neither_yaml_nor_numpy() -> None:
    code = "import sys, ketacast.card; print({'yaml', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_figures_are_filled_in_and_lines_joined() -> None:
    assert fill("a {b}\n  c", {"b": "1"}, "here") == "a 1 c"
