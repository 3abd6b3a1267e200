"""Read ``card.yaml`` and fill in its numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ketacast.card.building import Builder, exact_keys, mapping_at, sequence_at, text_at
from ketacast.card.checklists import (
    APPLIED_FIELDS,
    ATTRIBUTES,
    METRIC_FIELDS_AFTER,
    METRIC_FIELDS_BEFORE,
    METRICS,
    ROMAN,
    TRIPOD,
)
from ketacast.card.figures import figures
from ketacast.card.records import (
    AppliedCard,
    Card,
    KeyMetric,
    Reference,
    Section,
    SourceAttribute,
    TripodItem,
)
from ketacast.card.sources import Sources, load_sources
from ketacast.card.tables import TABLES
from ketacast.card.yaml_file import read_yaml
from ketacast.errors import ArtifactError

CARD_NAME: Final = "card.yaml"
SCHEMA: Final = 1

_PARTS: Final = (
    "schema",
    "release",
    "updated",
    "title",
    "texts",
    "capabilities",
    "pages",
    "sections",
    "source_attributes",
    "tripod_ai",
    "chai",
    "references",
)


def load_card(directory: Path | str | None = None) -> Card:
    """Read the card of a model, with every number filled in.

    Parameters
    ----------
    directory : path, optional
        Directory of the model, with ``card.yaml``, ``artifact.json``,
        ``validation.json``, ``recipe.toml`` and ``evidence``; the model that comes
        with the package by default.

    Returns
    -------
    Card

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, if the files are not of one model, if the
        card has a field too many, too few or blank, or names an unknown figure.
    EvidenceError, RecipeError
        If the evidence or the recipe is not usable.
    MissingDependencyError
        If PyYAML is not installed.
    """
    sources = load_sources(directory)
    return build_card(read_yaml(sources.directory / CARD_NAME), sources)


def build_card(given: object, sources: Sources) -> Card:
    """Build a card from the content of ``card.yaml``.

    Parameters
    ----------
    given : object
        The content, as read.
    sources : Sources
        Files that the numbers come from.

    Returns
    -------
    Card

    Raises
    ------
    ArtifactError
        If the content is not a card or names an unknown figure.
    """
    content = mapping_at(given, CARD_NAME)
    exact_keys(content, _PARTS, CARD_NAME)
    if content["schema"] != SCHEMA:
        raise ArtifactError(
            f"{CARD_NAME}: schema is {content['schema']!r}; this version of ketacast reads {SCHEMA}"
        )
    released = _release(content, sources)
    updated = _date(content["updated"], "updated")
    values = {**figures(sources), "released": released, "updated": updated}
    builder = Builder(content, values)
    return Card(
        title=builder.filled(text_at(content["title"], "title"), "title"),
        model=sources.artifact.name,
        version=sources.artifact.version,
        sha256=sources.artifact.sha256,
        released=released,
        updated=updated,
        sections=_sections(builder, content, sources),
        attributes=_attributes(builder, content),
        tripod=_tripod(builder, content),
        applied=_applied(builder, content),
        references=_references(builder, content),
    )


def _date(value: object, where: str) -> str:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    raise ArtifactError(f"{where} is {value!r}; give a date as YYYY-MM-DD")


def _release(content: Mapping[str, Any], sources: Sources) -> str:
    release = mapping_at(content["release"], "release")
    exact_keys(release, ("version", "date"), "release")
    if release["version"] != sources.artifact.version:
        raise ArtifactError(
            f"release.version is {release['version']!r}, the artifact is version "
            f"{sources.artifact.version!r}; give the new version and its date in {CARD_NAME}"
        )
    return _date(release["date"], "release.date")


def _sections(
    builder: Builder, content: Mapping[str, Any], sources: Sources
) -> tuple[Section, ...]:
    sections = []
    for number, given in enumerate(sequence_at(content["sections"], "sections")):
        where = f"sections[{number}]"
        entry = mapping_at(given, where)
        names = sequence_at(entry.get("tables", []), f"{where}.tables", empty=True)
        for name in names:
            if name not in TABLES:
                raise ArtifactError(f"{where}: no table is named {name!r}; use {sorted(TABLES)}")
        exact_keys({**entry, "tables": names}, ("heading", "show", "tables"), where)
        sections.append(
            Section(
                heading=builder.filled(text_at(entry["heading"], where), where),
                texts=builder.shown(entry["show"], where),
                tables=tuple(TABLES[name](sources) for name in names),
            )
        )
    return tuple(sections)


def _attributes(builder: Builder, content: Mapping[str, Any]) -> tuple[SourceAttribute, ...]:
    given = mapping_at(content["source_attributes"], "source_attributes")
    keys = [key for group in ATTRIBUTES.values() for key in group]
    exact_keys(given, keys, "source_attributes")
    found: list[SourceAttribute] = []
    for number, (group, labels) in enumerate(ATTRIBUTES.items(), start=1):
        for roman, (key, label) in zip(ROMAN, labels.items(), strict=False):
            entry = builder.entry(given[key], f"source_attributes.{key}")
            paragraph = f"({number})({roman})"
            found.append(SourceAttribute(len(found) + 1, key, paragraph, group, label, entry))
    return tuple(found)


def _tripod(builder: Builder, content: Mapping[str, Any]) -> tuple[TripodItem, ...]:
    given = mapping_at(content["tripod_ai"], "tripod_ai")
    exact_keys(given, TRIPOD, "tripod_ai")
    return tuple(
        builder.tripod_item(item, label, given[item], f"tripod_ai.{item}")
        for item, label in TRIPOD.items()
    )


def _applied(builder: Builder, content: Mapping[str, Any]) -> AppliedCard:
    given = mapping_at(content["chai"], "chai")
    exact_keys(given, (*APPLIED_FIELDS, "Keywords", "KeyMetrics"), "chai")
    fields = {
        group: builder.entries(given[group], names, f"chai.{group}")
        for group, names in APPLIED_FIELDS.items()
    }
    keywords = tuple(
        builder.filled(text_at(word, "chai.Keywords"), "chai.Keywords")
        for word in sequence_at(given["Keywords"], "chai.Keywords")
    )
    metrics = mapping_at(given["KeyMetrics"], "chai.KeyMetrics")
    exact_keys(metrics, METRICS, "chai.KeyMetrics")
    return AppliedCard(
        fields, keywords, {name: _metric(builder, metrics[name], name) for name in METRICS}
    )


def _metric(builder: Builder, value: object, name: str) -> KeyMetric:
    where = f"chai.KeyMetrics.{name}"
    given = dict(mapping_at(value, where))
    results = sequence_at(given.pop("Results", []), f"{where}.Results")
    return KeyMetric(
        builder.entries(given, (*METRIC_FIELDS_BEFORE, *METRIC_FIELDS_AFTER), where),
        tuple(builder.result(result, f"{where}.Results") for result in results),
    )


def _references(builder: Builder, content: Mapping[str, Any]) -> tuple[Reference, ...]:
    return tuple(
        builder.reference(given, f"references[{number}]")
        for number, given in enumerate(sequence_at(content["references"], "references"))
    )
