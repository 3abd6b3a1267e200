"""The four formats: well formed, escaped, accessible, the same bytes every time."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.card import CARD_FORMATS, Card, CardFormat, load_card, render_card
from ketacast.card.markdown_page import escaped
from ketacast.card.records import (
    Entry,
    KeyMetric,
    Reference,
    Result,
    Section,
    SourceAttribute,
    Table,
    Text,
    TripodItem,
)
from ketacast.errors import InputError

NAMESPACE = "{https://mc.chai.org/v0.2/schema.xsd}"
# WCAG 2.2: contrast of text (1.4.3) and of lines that carry meaning (1.4.11).
TEXT_CONTRAST = 4.5
LINE_CONTRAST = 3.0
VOID = {"meta", "br"}

METRIC = [
    "MetricGoal",
    "Results",
    "Interpretation",
    "TestType",
    "TestingDataDescription",
    "ValidationProcessAndJustification",
]
# Elements of the applied model card 0.2 in their order, written from its published
# structure apart from the renderer; optional ones that the card uses included.
STRUCTURE: dict[str, list[str]] = {
    "": [
        "BasicInfo",
        "ReleaseInfo",
        "ModelSummary",
        "UsesAndDirections",
        "Warnings",
        "TrustIngredients",
        "KeyMetrics",
        "Resources",
        "Bibliography",
    ],
    "BasicInfo": ["ModelName", "ModelDeveloper", "DeveloperContact"],
    "ReleaseInfo": [
        "ReleaseStage",
        "ReleaseDate",
        "ReleaseVersion",
        "GlobalAvailability",
        "RegulatoryApproval",
    ],
    "ModelSummary": ["Summary", "Keywords"],
    "UsesAndDirections": [
        "IntendedUseAndWorkflow",
        "PrimaryIntendedUsers",
        "HowToUse",
        "TargetedPatientPopulation",
        "CautionedOutOfScopeSettings",
    ],
    "Warnings": [
        "KnownRisksAndLimitations",
        "KnownBiasesOrEthicalConsiderations",
        "ClinicalRiskLevel",
    ],
    "TrustIngredients": ["AISystemFacts", "TransparencyInformation"],
    "TrustIngredients/AISystemFacts": [
        "OutcomesAndOutputs",
        "ModelType",
        "FoundationModels",
        "InputDataSource",
        "OutputAndInputDataTypes",
        "DevelopmentDataCharacterization",
        "BiasMitigationApproaches",
        "OngoingMaintenance",
        "Security",
        "Transparency",
    ],
    "TrustIngredients/TransparencyInformation": [
        "FundingSource",
        "ThirdPartyInformation",
        "StakeholdersConsulted",
    ],
    "KeyMetrics": ["UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"],
    "KeyMetrics/UsefulnessUsabilityEfficacy": METRIC,
    "KeyMetrics/FairnessEquity": METRIC,
    "KeyMetrics/SafetyReliability": METRIC,
    "Resources": [
        "EvaluationReferences",
        "ClinicalTrial",
        "PeerReviewedPublications",
        "ReimbursementStatus",
        "PatientConsentOrDisclosure",
    ],
}

# What YAML and the card let through: no control character, no surrogate, no blank ends.
_MARKUP = ["<b>", "</p>", "<!--", "&", "&lt;", "]]>", '"', "'", "|", "\\", "`", "\n", " - ", "1. "]
TEXTS = (
    st.lists(
        st.sampled_from(_MARKUP)
        | st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=5),
        min_size=1,
        max_size=8,
    )
    .map(lambda parts: " ".join("".join(parts).split()))
    .filter(bool)
)


class Page(HTMLParser):
    """Collects what the tests ask of a page; fails on a tag that does not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), names
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@cache
def product() -> Card:
    return load_card()


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_card(product(), "html"))


def with_text(text: str) -> Card:
    """The card with one text in every place that takes text."""
    card = product()
    entry = Entry((Text((text,), points=False), Text((text, text), points=True)), available=False)
    metric = KeyMetric(
        {name: entry for name in METRIC if name != "Results"},
        (Result(text, 1.5, 1.0, 2.0, 95.0, text),),
    )
    applied = dataclasses.replace(
        card.applied,
        fields={
            group: dict.fromkeys(fields, entry) for group, fields in card.applied.fields.items()
        },
        keywords=(text,),
        metrics=dict.fromkeys(card.applied.metrics, metric),
    )
    table = Table(text, (text, text), ((text, text),))
    return dataclasses.replace(
        card,
        title=text,
        sections=(Section(text, (Text((text,), points=False),), (table,)),),
        attributes=(SourceAttribute(1, "key", "(1)(i)", text, text, entry),),
        tripod=(TripodItem("1", text, (text,), text),),
        applied=applied,
        references=(Reference("key", text, text, text, 2020, text),),
    )


@pytest.mark.parametrize("form", CARD_FORMATS)
def test_every_format_is_the_same_every_time(form: CardFormat) -> None:
    code = (
        "import sys; from ketacast.card import load_card, render_card; "
        f"sys.stdout.buffer.write(render_card(load_card(), {form!r}).encode())"
    )
    here = render_card(product(), form).encode()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout == here


@pytest.mark.parametrize("form", CARD_FORMATS)
def test_every_format_ends_with_one_line_feed_and_has_no_placeholder(form: CardFormat) -> None:
    text = render_card(product(), form)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"\{[a-z_][a-z_0-9]*\}", text)


def test_formats_are_four_and_others_are_refused() -> None:
    assert CARD_FORMATS == get_args(CardFormat) == ("md", "html", "json", "chai-xml")
    with pytest.raises(InputError, match="form is 'pdf'"):
        render_card(product(), "pdf")  # type: ignore[arg-type]  # the fault tested


def test_the_applied_model_card_has_the_published_structure() -> None:
    root = ET.fromstring(render_card(product(), "chai-xml"))  # noqa: S314 - our own
    assert root.tag == f"{NAMESPACE}AppliedModelCard"
    assert len(STRUCTURE) == 14
    for path, names in STRUCTURE.items():
        parent = root
        for step in path.split("/") if path else []:
            (parent,) = parent.findall(f"{NAMESPACE}{step}")
        assert [child.tag.removeprefix(NAMESPACE) for child in parent] == names, path
    for element in root.iter():
        assert len(element) or (element.text or "").strip(), element.tag


def test_results_of_the_applied_model_card_are_json_numbers() -> None:
    root = ET.fromstring(render_card(product(), "chai-xml"))  # noqa: S314 - our own
    for metric in STRUCTURE["KeyMetrics"]:
        results = root.findall(f".//{NAMESPACE}{metric}/{NAMESPACE}Results/*")
        assert results, metric
        for result in results:
            assert [child.tag for child in result] == [
                f"{NAMESPACE}Label",
                f"{NAMESPACE}ValueJson",
            ]
            value = json.loads(result[1].text or "")
            if value["kind"] == "estimate_ci":
                assert value["lower"] <= value["estimate"] <= value["upper"]
            else:
                assert value["kind"] == "single"
                assert isinstance(value["value"], float)


def test_the_json_document_holds_the_whole_card() -> None:
    card = product()
    document = json.loads(render_card(card, "json"))
    assert document["schema_version"] == 1
    assert document["model"] == {
        "name": card.model,
        "version": card.version,
        "sha256": card.sha256,
        "released": card.released,
    }
    assert len(document["source_attributes"]) == 31
    assert len(document["tripod_ai"]) == 52
    assert [part["heading"] for part in document["sections"]] == [s.heading for s in card.sections]
    assert document["chai"]["Warnings"]["ClinicalRiskLevel"]


def test_the_page_stands_alone(page: Page) -> None:
    text = render_card(product(), "html")
    assert not page.of("script") + page.of("img") + page.of("link") + page.of("iframe")
    assert "url(" not in text
    assert "@import" not in text
    assert not [a for _, a in page.tags if "src" in a or any(k.startswith("on") for k in a)]
    for anchor in page.of("a"):
        assert (anchor["href"] or "").startswith(("#", "https://doi.org/10."))


def test_the_page_is_accessible(page: Page) -> None:
    (root,) = page.of("html")
    assert root["lang"] == "en"
    assert page.texts["title"] == page.texts["h1"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [a["id"] for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    targets = {(a["href"] or "")[1:] for a in page.of("a") if (a["href"] or "").startswith("#")}
    assert targets <= set(names)
    assert {a["aria-labelledby"] for a in page.of("section")} <= set(names)
    assert len(page.of("table")) == len(page.of("caption")) > 10
    assert all(a.get("scope") in {"col", "row"} for a in page.of("th"))
    assert len(page.of("main")) == len(page.of("nav")) == 1


def test_every_table_row_has_a_heading_and_all_cells() -> None:
    text = render_card(product(), "html")
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        columns = table.count('<th scope="col">')
        rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", table)
        assert rows
        for row in rows:
            assert 1 + row.count("<td>") == columns


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_enough_contrast() -> None:
    style = render_card(product(), "html").partition("</style>")[0]
    schemes = re.findall(r":root \{([^}]*--line[^}]*)\}", style)
    assert len(schemes) == 3  # light, dark, print
    for scheme in schemes:
        colour = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "link"):
            assert _contrast(colour[name], colour["ground"]) >= TEXT_CONTRAST
        assert _contrast(colour["ink"], colour["soft"]) >= TEXT_CONTRAST
        assert _contrast(colour["line"], colour["ground"]) >= LINE_CONTRAST


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_html_shows_any_text_as_it_is(text: str) -> None:
    page = Page(render_card(with_text(text), "html"))
    assert page.texts["h1"] == [text]
    assert page.texts["title"] == [text]
    assert page.texts["h2"][0] == text
    assert text in page.texts["p"]
    assert page.texts["caption"][0] == text
    assert page.texts["cite"] == [text]
    assert page.of("div")[0]["aria-label"] == text


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_xml_carries_any_text_as_it_is(text: str) -> None:
    root = ET.fromstring(render_card(with_text(text), "chai-xml"))  # noqa: S314 - our own
    assert root.findtext(f".//{NAMESPACE}Keyword") == text
    assert root.findtext(f".//{NAMESPACE}Label") == text
    value = json.loads(root.findtext(f".//{NAMESPACE}ValueJson") or "")
    assert value["unit"] == text
    expected = f"not available: {text}\n\n- {text}\n- {text}"
    assert root.findtext(f".//{NAMESPACE}Security") == expected


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_markdown_tables_keep_their_columns(text: str) -> None:
    lines = render_card(with_text(text), "md").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert rows
    for row in rows:
        bare = re.sub(r"\\.", "", row)
        assert bare.count("|") in {3, 4}  # two columns of the figures, three of the checklists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3. They", "3\\. They"),
        ("- a", "\\- a"),
        ("# a", "\\# a"),
        ("a_b *c*", "a\\_b \\*c\\*"),
        ("<b> & [x](y)", "\\<b\\> &amp; \\[x\\](y)"),
        ("a|b", "a\\|b"),
        ("0.5 of 3.", "0.5 of 3."),
        ("-0.12 on", "-0.12 on"),
    ],
)
def test_markdown_markup_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_wrapped_markdown_lines_start_no_list() -> None:
    text = " ".join(["word" * 5, "3.", "-", "#"] * 30)
    card = dataclasses.replace(
        product(), sections=(Section("x", (Text((text,), points=False),), ()),)
    )
    lines = render_card(card, "md").split("## x\n")[1].split("## ")[0].splitlines()
    assert len(lines) > 5
    assert not [line for line in lines if re.match(r"(\d+\.|[-#+]) ", line)]
