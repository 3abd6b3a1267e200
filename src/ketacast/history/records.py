"""From whatever a FHIR client sends to the distinct records of one patient."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ketacast.errors import InputError
from ketacast.history.fhir import EMPTY, Resource, items, mapping, text
from ketacast.history.result import Unused

#: Resources that bear on the count; of all others not even the date is read.
READ: Final = frozenset(
    {
        "Condition",
        "Medication",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "MedicationStatement",
        "Observation",
        "Patient",
        "Procedure",
    }
)
_OF_A_PATIENT: Final = READ - {"Medication", "Patient"}
_DEEPEST: Final = 8
_MOST_FAULTS: Final = 10_000


@dataclass(slots=True)
class Chart:
    """The distinct records of one patient, and how references between them resolve.

    Attributes
    ----------
    records : dict of str to list
        By resource type, each with its name (``MedicationRequest/123``).
    targets : dict
        Records by every name that a reference may use.
    unread : list of Unused
        Entries that are no records.
    others : int
        Records of other patients that were left out.
    """

    records: dict[str, list[tuple[str, Resource]]] = field(default_factory=dict)
    targets: dict[str, Resource] = field(default_factory=dict)
    unread: list[Unused] = field(default_factory=list)
    others: int = 0

    def of(self, kind: str) -> list[tuple[str, Resource]]:
        """Give the records of a type."""
        return self.records.get(kind, [])

    def resolve(self, reference: object, within: Resource) -> Resource:
        """Follow a Reference; an empty record if it leads nowhere."""
        name = text(mapping(reference).get("reference"))
        if not name:
            return EMPTY
        if name.startswith("#"):
            for contained in items(within.get("contained")):
                if isinstance(contained, dict) and contained.get("id") == name[1:]:
                    return contained
            return EMPTY
        return self.targets.get(name) or self.targets.get(short_name(name), EMPTY)


def short_name(reference: str) -> str:
    """Shorten a reference to ``Type/id``, or to what follows ``urn:uuid:``."""
    if "/" not in reference:
        return reference.rpartition(":")[2]
    parts = reference.split("/_history/", maxsplit=1)[0].rstrip("/").split("/")
    return "/".join(parts[-2:])


@lru_cache(maxsize=1024)
def _identity(reference: str) -> str:
    return short_name(reference).rpartition("/")[2]


def read_chart(resources: object, patient: str | None = None) -> Chart:
    """Sort out a Bundle, a list of resources or of Bundles.

    Parameters
    ----------
    resources : mapping or iterable
        As parsed from JSON.
    patient : str, optional
        Id of the patient; records of others are left out. Without it the records
        must all belong to one patient.

    Raises
    ------
    InputError
        If `resources` is neither, or the records belong to several patients.
    """
    chart = Chart()
    found: dict[str, dict[str, Resource]] = {}
    full_urls: dict[str, str] = {}
    for resource, full_url in _flat(resources, chart):
        kind = resource.get("resourceType")
        if not isinstance(kind, str):
            _unread(chart, "entry", "no_type", "it has no resourceType")
        elif kind == "OperationOutcome":
            _unread(chart, kind, "not_delivered", "the server sent an error in place of data")
        elif kind in READ:
            _keep(found.setdefault(kind, {}), full_urls, kind, resource, full_url)
    _name_targets(chart, found, full_urls)
    _choose_patient(chart, found, full_urls, patient)
    return chart


def _unread(chart: Chart, source: str, code: str, reason: str) -> None:
    entry = Unused(source, code, reason)
    # Entries that cannot be named cannot be told apart: one line for all of a sort.
    if entry not in chart.unread and len(chart.unread) < _MOST_FAULTS:
        chart.unread.append(entry)


def _flat(resources: object, chart: Chart) -> Iterable[tuple[Resource, str]]:
    """Go through the records in Bundles, also nested ones, without recursion."""
    if isinstance(resources, Mapping):
        waiting: list[tuple[object, object, int]] = [(dict(resources), "", 0)]
    elif isinstance(resources, Iterable) and not isinstance(resources, (str, bytes)):
        waiting = [(resource, "", 0) for resource in resources if resource is not None]
    else:
        raise InputError(
            f"resources is {type(resources).__name__}; give a FHIR Bundle or a list of resources"
        )
    while waiting:
        resource, full_url, depth = waiting.pop()
        if not isinstance(resource, (dict, Mapping)):  # a dict is told faster
            _unread(chart, "entry", "no_resource", "it holds no resource")
        elif resource.get("resourceType") != "Bundle":
            yield resource, text(full_url)
        elif depth >= _DEEPEST:
            _unread(chart, "Bundle", "nested", f"Bundles are nested more than {_DEEPEST} deep")
        else:
            _note_missing_parts(resource, chart)
            for entry in items(resource.get("entry")):
                if isinstance(entry, dict):
                    waiting.append((entry.get("resource"), entry.get("fullUrl"), depth + 1))
                else:
                    waiting.append((None, "", depth + 1))


def _note_missing_parts(bundle: Resource, chart: Chart) -> None:
    if not isinstance(bundle.get("entry", []), list):
        _unread(chart, "Bundle", "no_entries", "its entries are no list")
    relations = [mapping(link).get("relation") for link in items(bundle.get("link"))]
    if "next" in relations:
        _unread(chart, "Bundle", "more_pages", "the server has further pages that were not sent")


def _keep(
    held: dict[str, Resource], full_urls: dict[str, str], kind: str, resource: Resource, url: str
) -> None:
    """Keep each record once; of two versions the later one, whatever their order."""
    name = text(resource.get("id")) or _identity(url) or _content(resource)
    if url:
        own = f"{kind}/{name}"
        full_urls[url] = min(full_urls.get(url, own), own)
    known = held.get(name)
    if known is None:
        held[name] = resource
    elif known is not resource:
        held[name] = max(known, resource, key=_version)


def _version(resource: Resource) -> tuple[str, int, str]:
    meta = mapping(resource.get("meta"))
    number = text(meta.get("versionId"))
    whole = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
    return text(meta.get("lastUpdated")), whole, _content(resource)


def _content(resource: Resource) -> str:
    try:
        return json.dumps(resource, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError):
        return ""


def _name_targets(
    chart: Chart, found: dict[str, dict[str, Resource]], full_urls: dict[str, str]
) -> None:
    for kind in ("Medication", "Condition", "MedicationRequest", "Observation"):
        for name, resource in found.get(kind, {}).items():
            chart.targets[f"{kind}/{name}"] = resource
    for url, name in sorted(full_urls.items()):
        if name in chart.targets:
            chart.targets[url] = chart.targets[name]
            chart.targets.setdefault(short_name(url), chart.targets[name])


def _choose_patient(
    chart: Chart,
    found: dict[str, dict[str, Resource]],
    full_urls: dict[str, str],
    patient: str | None,
) -> None:
    """Keep the records of one patient; names of patients are never put out."""
    if patient is not None and (not isinstance(patient, str) or patient[-1:] in ("", "/", ":")):
        raise InputError(f"patient is {type(patient).__name__}; give the patient's id as text")
    aliases = {
        _identity(url): _identity(name)
        for url, name in full_urls.items()
        if name.startswith("Patient/")
    }
    for own, resource in found.get("Patient", {}).items():
        for identifier in items(resource.get("identifier")):
            aliases[_identified(identifier, {})] = own
    subjects: set[str] = set(found.get("Patient", {}))
    wanted = None if patient is None else aliases.get(_identity(patient), _identity(patient))
    for kind, held in found.items():
        kept = []
        for name in sorted(held):
            resource = held[name]
            subject = name if kind == "Patient" else _subject(kind, resource, aliases)
            if subject and wanted is not None and subject != wanted:
                chart.others += 1
                continue
            if subject:
                subjects.add(subject)
            shown = f"{kind}/{name}" if len(name) <= 64 else f"{kind} without id"
            kept.append((shown, resource))
        chart.records[kind] = kept
    if wanted is None and len(subjects) > 1:
        raise InputError(
            f"resources belong to {len(subjects)} patients; give the records of one, or name the "
            "patient whose records are meant"
        )


def _subject(kind: str, resource: Resource, aliases: dict[str, str]) -> str:
    if kind not in _OF_A_PATIENT:
        return ""
    subject = mapping(resource.get("subject") or resource.get("patient"))
    reference = text(subject.get("reference"))
    if not reference:
        return _identified(subject.get("identifier"), aliases)
    name = _identity(reference)
    return "" if name.startswith("#") else aliases.get(name, name)


def _identified(identifier: object, aliases: dict[str, str]) -> str:
    held = mapping(identifier)
    value = text(held.get("value"))
    name = f"{text(held.get('system'))}|{value}"
    return aliases.get(name, name) if value else ""
