"""The card of the product: complete, true to the files, no typed results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ketacast.card import Card, load_card, render_card, source_attributes
from ketacast.card.figures import FIGURES, coverage
from ketacast.card.sources import load_sources
from ketacast.card.tables import TABLES
from ketacast.cli import main

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "ketamine-trd"
RAW: dict[str, Any] = yaml.safe_load((MODEL / "card.yaml").read_text(encoding="utf-8"))

# 45 CFR 170.315(b)(11)(iv)(B)(1) to (9): how many attributes each paragraph has.
ATTRIBUTES_PER_PARAGRAPH = [4, 4, 2, 4, 2, 4, 5, 4, 2]
# TRIPOD+AI: parts of each of its 27 items.
TRIPOD_PARTS = {
    **dict.fromkeys(range(1, 28), 1),
    **dict.fromkeys((5, 23), 2),
    **dict.fromkeys((3, 6, 8, 9, 20, 27), 3),
    12: 7,
    18: 6,
}
# Items that cannot apply to published counts: predictor raters, class imbalance,
# ethics approval, comparison with external data.
NOT_APPLICABLE = {"9c", "13", "17", "20c"}

# Digits that the card may type, each with its reason. Everything else is a figure.
ALLOWED_DIGITS = {
    r"PHQ-9": "name of a scale",
    r"SHA-256": "name of a digest",
    r"Apache-2\.0": "name of a licence",
    r"log2": "name of a function",
    r"at least 50 % lower": "definition of response",
    r"\b(?:80|95) % (?:interval|limits|range)": "level of an interval",
    r"at 80 % called|the 80 % and the": "level of an interval",
    r"1 is ideal": "ideal value of a calibration slope",
    r"--failed-trials 6 --infusions 6": "example of a command",
}
NUMBER_WORDS = re.compile(
    r"\b(?:eleven|twelve|\w+teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand)\b"
)
ALLOWED_WORDS = {"eighteen"}  # years of age at which people are adults


@cache
def product() -> Card:
    return load_card()


def strings(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from strings(entry, f"{where}.{key}")
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from strings(entry, f"{where}[{number}]")
    else:
        yield where, str(value)


def words() -> list[tuple[str, str]]:
    """All texts of the card but dates, versions, citations and page names."""
    apart = {"schema", "release", "updated", "references", "pages"}
    kept = {key: value for key, value in RAW.items() if key not in apart}
    found = [pair for pair in strings(kept) if not pair[0].endswith((".level", ".available"))]
    assert len(found) > 150  # the walk has reached the whole card
    return found


def typed_numbers(text: str) -> list[str]:
    text = re.sub(r"\{[^{}]*\}", "", text)
    for pattern in ALLOWED_DIGITS:
        text = re.sub(pattern, "", text)
    spelled = [word for word in NUMBER_WORDS.findall(text.lower()) if word not in ALLOWED_WORDS]
    return re.findall(r"\S*\d\S*", text) + spelled


def test_no_result_is_typed() -> None:
    found = {where: numbers for where, text in words() if (numbers := typed_numbers(text))}
    assert not found, "use a figure of ketacast.card.figures instead"


@pytest.mark.parametrize(
    "text",
    ["from 24 cohorts", "1,805 patients", "O:E 1.09", "twenty cohorts", "78 % inside", "95 %"],
)
def test_the_search_for_typed_numbers_finds_them(text: str) -> None:
    assert typed_numbers(text)


def test_every_number_that_may_be_typed_is_typed_somewhere() -> None:
    text = "\n".join(text for _, text in words())
    unused = [pattern for pattern in ALLOWED_DIGITS if not re.search(pattern, text)]
    assert not unused


def test_levels_of_results_are_those_of_the_exact_limits() -> None:
    levels = [text for where, text in strings(RAW["chai"]) if where.endswith(".level")]
    assert levels == ["95", "95"]


def test_every_figure_table_and_text_is_used() -> None:
    text = (MODEL / "card.yaml").read_text(encoding="utf-8")
    assert not [name for name in FIGURES if f"{{{name}}}" not in text]
    used = {name for section in RAW["sections"] for name in section.get("tables", [])}
    assert used == set(TABLES)
    names = {*RAW["texts"], *(entry["name"] for entry in RAW["capabilities"])}
    shown = {text for where, text in strings(RAW) if ".show[" in where}
    assert shown == names


def test_all_31_source_attributes_are_given_or_say_why_not() -> None:
    attributes = product().attributes
    assert [attribute.number for attribute in attributes] == list(range(1, 32))
    paragraphs = [attribute.paragraph for attribute in attributes]
    assert len(set(paragraphs)) == 31
    counts = [sum(p.startswith(f"({n})") for p in paragraphs) for n in range(1, 10)]
    assert counts == ATTRIBUTES_PER_PARAGRAPH
    for attribute in attributes:
        value = attribute.entry.plain()
        assert len(value) > 20, attribute.key
        assert value.startswith("not available: ") is not attribute.entry.available
    document = source_attributes(product())
    assert len(document) == 31
    assert document["developer"]["paragraph"] == "45 CFR 170.315(b)(11)(iv)(B)(1)(i)"
    assert document["correction_process"]["paragraph"] == "45 CFR 170.315(b)(11)(iv)(B)(9)(ii)"


def test_what_cannot_be_known_yet_is_not_claimed() -> None:
    missing = {a.key for a in product().attributes if not a.entry.available}
    assert missing >= {
        "external_data",
        "validity_external",
        "fairness_same_source",
        "fairness_external",
        "outcome_evaluations",
        "validity_local",
        "fairness_local",
        "funding",
    }


def test_all_27_tripod_items_with_their_52_parts_are_answered() -> None:
    items = product().tripod
    assert len(items) == 52
    counts: dict[int, int] = {}
    for item in items:
        number = int(item.item.rstrip("abcdefg"))
        counts[number] = counts.get(number, 0) + 1
        assert len(item.plain()) > 10, item.item
        assert item.label
    assert counts == TRIPOD_PARTS
    assert {item.item for item in items if not item.applies} == NOT_APPLICABLE


def headings(path: Path) -> set[str]:
    """Headings without their section number."""
    found = re.findall(r"^#+ (?:\d+ )?(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return set(found)


def test_places_of_tripod_items_exist() -> None:
    card = product()
    version = card.version
    own = {section.heading for section in card.sections}
    own.add("Source attributes of a predictive decision support intervention")
    checked = 0
    for item, entry in RAW["tripod_ai"].items():
        for place in entry.get("at", []):
            page, colon, heading = place.partition(": ")
            heading = heading.replace("{model_version}", version)
            if page == "card":
                assert not colon or heading in own, f"{item}: {place}"
            else:
                path = ROOT / RAW["pages"][page]
                assert path.is_file(), f"{item}: {place}"
                assert not colon or heading in headings(path), f"{item}: {place}"
            checked += 1
    assert checked > 70


@pytest.mark.parametrize("entry", RAW["capabilities"], ids=lambda entry: entry["name"])
def test_capabilities_are_those_of_the_command_line(
    entry: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(entry["available"], bool)
    if "shown_by" not in entry:
        return
    command, option = entry["shown_by"].split()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    offered = re.search(rf"(?<![\w-]){option}(?![\w-])", capsys.readouterr().out) is not None
    assert offered is entry["available"], f"set `available` of {entry['name']} to {offered}"


def test_the_words_fit_the_numbers() -> None:
    """Sentences that a rebuilt model could make false: mend the words if this fails."""
    sources = load_sources()
    validation, evidence = sources.validation, sources.evidence
    single = {
        entry["group"]: entry["observed"] / entry["expected"]
        for entry in validation["single_infusion"]
        if entry["outcome"] == "response"
    }
    # "the answer lies between two kinds of study"
    assert single["single-infusion trials"] > 1 > single["first infusion of a course"]
    # "which does not tell the two apart"
    (gain,) = [e for e in validation["score_differences"] if e["group"] == "family"]
    assert abs(gain["mean"]) < 2 * gain["se"]
    # "these intervals are wide": each holds no slope and the ideal one
    for entry in validation["calibration"]:
        assert entry["slope_ci"][0] < 0.1
        assert entry["slope_ci"][1] > 1
    # intervals hold about what they promise
    for level in (0.8, 0.95):
        found = coverage(sources, "both", level)
        assert found["result"]["low"] < found["nominal_mass"] < found["result"]["high"]
    # "That of response is its prior"
    response = next(e for e in sources.artifact.content["coefficients"] if e["name"] == "g_R")
    assert abs(response["mean"]) < 0.1 * response["sd"]
    assert response["sd"] == pytest.approx(sources.recipe.priors["g_R"].sd, rel=0.05)
    # "No cohort in the fit has more infusions than the plateau"
    rows = [row for row in evidence.outcomes if row.model_use]
    plateau = sources.artifact.content["coding"]["plateau_infusions"]
    assert max(row.infusions for row in rows if row.infusions is not None) <= plateau
    # "Most cohorts are open-label trials or routine care"
    primary = evidence.primary_cohorts()
    assert sum(cohort.design == "rct_arm" for cohort in primary) < len(primary) / 2
    # "a few print a mean number of failed trials, so the cohorts cannot show a slope"
    assert sum(cohort.failed_trials_mean is not None for cohort in primary) < 6
    # "self-rated cohorts are mostly clinics, clinician-rated ones mostly trials"
    settings: dict[str, str] = {cohort.cohort_id: cohort.setting for cohort in primary}
    for scorer, setting in (("self", "real_world"), ("clinician", "trial")):
        of_scorer = [
            settings[row.cohort_id]
            for row in rows
            if row.scorer == scorer and row.model_use == "primary"
        ]
        assert of_scorer.count(setting) > len(of_scorer) / 2, scorer


def test_limits_that_must_not_get_lost_are_said() -> None:
    text = " ".join(render_card(product(), "md").split())
    for sentence in (
        "not a medical device and not advice for a patient",
        "does not recommend to start, continue or stop treatment",
        "Ecological bias",
        "Uncontrolled rates",
        "esketamine nasal spray",
        "no adjustment for publication bias",
        "have no DOI here",
        "there was no external validation",
    ):
        assert sentence in text
    for forbidden in ("proven", "effective treatment", "should be given", "clinically validated"):
        assert forbidden not in text.lower()


def test_the_rendered_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert page == render_card(product(), "md"), "run `ketacast model card > docs/model-card.md`"
