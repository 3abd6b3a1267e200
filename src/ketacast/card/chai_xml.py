"""The card as a CHAI applied model card 0.2 (XML).

Element names and order follow the structure published by the Coalition for
Health AI (namespace ``https://mc.chai.org/v0.2/schema.xsd``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ketacast.card.checklists import METRIC_FIELDS_AFTER, METRIC_FIELDS_BEFORE
from ketacast.card.records import AppliedCard, Card, Entry, KeyMetric, Reference, Result

NAMESPACE: Final = "https://mc.chai.org/v0.2/schema.xsd"


def chai_xml(card: Card) -> str:
    """Return a card as a CHAI applied model card.

    Parameters
    ----------
    card : Card

    Returns
    -------
    str
        An XML document (UTF-8 declared); ends with a line feed.
    """
    applied = card.applied
    root = Element("AppliedModelCard", {"xmlns": NAMESPACE})
    for group in ("BasicInfo", "ReleaseInfo"):
        _add_group(root, group, applied.fields[group])
    summary = _add_group(root, "ModelSummary", applied.fields["ModelSummary"])
    keywords = SubElement(summary, "Keywords")
    for word in applied.keywords:
        SubElement(keywords, "Keyword").text = word
    for group in ("UsesAndDirections", "Warnings"):
        _add_group(root, group, applied.fields[group])
    trust = SubElement(root, "TrustIngredients")
    for group in ("AISystemFacts", "TransparencyInformation"):
        _add_group(trust, group, applied.fields[group])
    _add_metrics(root, applied)
    _add_group(root, "Resources", applied.fields["Resources"])
    SubElement(root, "Bibliography").text = "\n".join(map(_bibtex, card.references))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _add_group(parent: Element, name: str, entries: Mapping[str, Entry]) -> Element:
    group = SubElement(parent, name)
    for field, entry in entries.items():
        SubElement(group, field).text = entry.plain()
    return group


def _add_metrics(root: Element, applied: AppliedCard) -> None:
    metrics = SubElement(root, "KeyMetrics")
    for name, metric in applied.metrics.items():
        _add_metric(SubElement(metrics, name), metric)


def _add_metric(parent: Element, metric: KeyMetric) -> None:
    for field in METRIC_FIELDS_BEFORE:
        SubElement(parent, field).text = metric.fields[field].plain()
    results = SubElement(parent, "Results")
    for result in metric.results:
        element = SubElement(results, "MetricResult")
        SubElement(element, "Label").text = result.label
        SubElement(element, "ValueJson").text = json.dumps(_value(result), ensure_ascii=False)
    for field in METRIC_FIELDS_AFTER:
        SubElement(parent, field).text = metric.fields[field].plain()


def _value(result: Result) -> dict[str, object]:
    """Value in the two shapes that published cards use: single, and estimate with limits."""
    if result.low is None:
        return {"kind": "single", "value": result.value, "unit": result.unit}
    return {
        "kind": "estimate_ci",
        "estimate": result.value,
        "lower": result.low,
        "upper": result.high,
        "level": result.level,
        "unit": result.unit,
    }


def _bibtex(reference: Reference) -> str:
    fields = {
        "author": reference.authors,
        "title": reference.title,
        "journal": reference.journal,
        "year": str(reference.year),
        "doi": reference.doi,
    }
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@article{{{reference.key},\n{body}\n}}"
