"""What is shown beside the count: ECT, TMS, earlier ketamine, augmentation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from ketacast.history.dates import Days, days_of, show_day, show_days
from ketacast.history.exposure import Exposure
from ketacast.history.fhir import Resource, codings, mapping, text, words
from ketacast.history.records import Chart
from ketacast.history.result import Reported
from ketacast.history.spans import touches

_CODES: Final = {
    ("http://snomed.info/sct", "23835007"): "ect",
    ("http://www.ama-assn.org/go/cpt", "90870"): "ect",
    ("http://www.ama-assn.org/go/cpt", "90867"): "tms",
    ("http://www.ama-assn.org/go/cpt", "90868"): "tms",
    ("http://www.ama-assn.org/go/cpt", "90869"): "tms",
}
_WORDS: Final = (
    (re.compile(r"electroconvulsive|\bect\b"), "ect"),
    (re.compile(r"transcranial magnetic|\br?tms\b"), "tms"),
    (re.compile(r"\besketamine\b"), "esketamine"),
    (re.compile(r"\bketamine\b"), "ketamine"),
)
_DONE: Final = frozenset({"completed", "in-progress", "stopped"})
_NAMES: Final = {
    "ect": "electroconvulsive therapy",
    "tms": "transcranial magnetic stimulation",
    "ketamine": "ketamine",
    "esketamine": "esketamine",
}
_SENTENCES: Final = {
    "ect": "ECT was given; it is reported and not counted",
    "tms": "TMS was given; it is reported and not counted",
    "ketamine": "ketamine is recorded before, perhaps as an anaesthetic; reported, not counted",
    "esketamine": "esketamine is recorded before; it is reported and not counted",
}


def reported_treatments(
    chart: Chart,
    exposures: Sequence[Exposure],
    treated: Sequence[tuple[int, int]],
    as_of: int,
) -> tuple[Reported, ...]:
    """List what is not counted but matters.

    Parameters
    ----------
    chart : Chart
        For the procedures.
    exposures : sequence of Exposure
        Of all drugs that matter.
    treated : sequence of (int, int)
        Days with an antidepressant: other drugs are augmentation beside one only.
    as_of : int
        Index day.
    """
    found: dict[tuple[str, str], list[tuple[Days, Days, str]]] = defaultdict(list)
    for source, procedure in chart.of("Procedure"):
        kind = _procedure_kind(procedure)
        days = _performed(procedure)
        if kind and text(procedure.get("status")) in _DONE:
            within = days is None or days.first <= as_of
            if within:
                days = days or Days(as_of, as_of)
                found[kind, _NAMES[kind]].append((days, days, source))
    for exposure in exposures:
        product = exposure.product
        if product.drug.kind == "antidepressant" and not product.partner:
            continue
        for kind, name in _drug_reports(exposure, treated):
            start = exposure.span.start or Days(exposure.span.first, exposure.span.first)
            end = Days(exposure.span.last, exposure.span.last)
            found[kind, name].append((start, end, exposure.source))
    return tuple(_report(kind, name, found[kind, name]) for kind, name in sorted(found))


def _drug_reports(
    exposure: Exposure, treated: Sequence[tuple[int, int]]
) -> Iterable[tuple[str, str]]:
    drug = exposure.product.drug
    if drug.kind == "ketamine":
        yield drug.name, drug.name
    elif drug.kind == "augmentation":
        span = (exposure.span.first, exposure.span.last)
        if touches(span, treated):
            yield "augmentation", drug.name
    if drug.kind == "antidepressant" and exposure.product.partner not in ("", "chlordiazepoxide"):
        yield "augmentation", exposure.product.partner


def _report(kind: str, name: str, records: list[tuple[Days, Days, str]]) -> Reported:
    start = min(start for start, _, _ in records)
    end = max(end for _, end, _ in records)
    sources = tuple(sorted({source for _, _, source in records}))
    sentence = _SENTENCES.get(kind) or f"{name} beside an antidepressant; reported, not counted"
    return Reported(
        kind, name, show_days(start), show_day(end.last), len(sources), sentence, sources
    )


def _procedure_kind(procedure: Resource) -> str:
    code = procedure.get("code")
    for system, value, _ in codings(code):
        if (system, value) in _CODES:
            return _CODES[system, value]
    return next(filter(None, map(_kind_of_words, words(code))), "")


@lru_cache(maxsize=4096)
def _kind_of_words(part: str) -> str:
    lowered = part[:200].lower()
    return next((kind for pattern, kind in _WORDS if pattern.search(lowered)), "")


def _performed(procedure: Resource) -> Days | None:
    period = mapping(procedure.get("performedPeriod"))
    return days_of(procedure.get("performedDateTime")) or days_of(period.get("start"))
