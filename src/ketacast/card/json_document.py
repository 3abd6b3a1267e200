"""The card as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ketacast.card.checklists import REGULATION
from ketacast.card.records import Card, Entry, KeyMetric, Table, Text

SCHEMA_VERSION: Final = 1


def card_json(card: Card) -> str:
    """Return a card as a JSON document (UTF-8, two spaces, final line feed)."""
    return json.dumps(card_document(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def card_document(card: Card) -> dict[str, Any]:
    """Return a card as plain dictionaries, lists and texts.

    Parameters
    ----------
    card : Card

    Returns
    -------
    dict
        ``schema_version``, ``title``, ``model``, ``updated``, ``sections``,
        ``source_attributes`` (see :func:`source_attributes`), ``tripod_ai``,
        ``chai`` and ``references``.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "title": card.title,
        "model": {
            "name": card.model,
            "version": card.version,
            "sha256": card.sha256,
            "released": card.released,
        },
        "updated": card.updated,
        "sections": [
            {
                "heading": section.heading,
                "texts": [_text(text) for text in section.texts],
                "tables": [_table(table) for table in section.tables],
            }
            for section in card.sections
        ],
        "source_attributes": source_attributes(card),
        "tripod_ai": [
            {
                "item": item.item,
                "label": item.label,
                "applies": item.applies,
                "reported_at": list(item.places),
                "note": item.note,
            }
            for item in card.tripod
        ],
        "chai": {
            **{group: _plain(entries) for group, entries in card.applied.fields.items()},
            "Keywords": list(card.applied.keywords),
            "KeyMetrics": {name: _metric(value) for name, value in card.applied.metrics.items()},
        },
        "references": [
            {
                "key": reference.key,
                "authors": reference.authors,
                "title": reference.title,
                "journal": reference.journal,
                "year": reference.year,
                "doi": reference.doi,
            }
            for reference in card.references
        ],
    }


def source_attributes(card: Card) -> dict[str, dict[str, Any]]:
    """Return the 31 source attributes of 45 CFR 170.315(b)(11)(iv)(B).

    Parameters
    ----------
    card : Card

    Returns
    -------
    dict
        By key, in the order of the regulation: ``number`` (1 to 31),
        ``paragraph``, ``group``, ``label``, ``available``, ``value`` (text;
        "not available: reason" where `available` is false).
    """
    return {
        attribute.key: {
            "number": attribute.number,
            "paragraph": f"{REGULATION}{attribute.paragraph}",
            "group": attribute.group,
            "label": attribute.label,
            "available": attribute.entry.available,
            "value": attribute.entry.plain(),
        }
        for attribute in card.attributes
    }


def _text(text: Text) -> str | list[str]:
    return list(text.lines) if text.points else text.lines[0]


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "columns": list(table.columns),
        "rows": [list(row) for row in table.rows],
    }


def _plain(entries: Mapping[str, Entry]) -> dict[str, str]:
    return {name: entry.plain() for name, entry in entries.items()}


def _metric(metric: KeyMetric) -> dict[str, Any]:
    return {
        **_plain(metric.fields),
        "Results": [
            {
                "label": result.label,
                "value": result.value,
                "low": result.low,
                "high": result.high,
                "level": result.level,
                "unit": result.unit,
            }
            for result in metric.results
        ],
    }
