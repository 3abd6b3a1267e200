"""What of a chart is at hand: sent along, read from the client's server, or missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from ketacast.history.fhir import Resource, items, mapping, text
from ketacast.history.records import short_name
from ketacast_service.cds_hooks.discovery import HISTORY, PREFETCH
from ketacast_service.cds_hooks.fhir_reader import FhirReader, ReadError
from ketacast_service.cds_hooks.requests import HookCall
from ketacast_service.errors import ProblemError

_NAMES: Final[Mapping[str, str]] = {
    "patient": "the patient's age",
    "conditions": "diagnoses",
    "medRequests": "medication requests",
    "medStatements": "medication statements",
    "phq9": "depression scores",
}
_ALL: Final = tuple(PREFETCH)
_MEDICATION: Final = re.compile(r"Medication/[A-Za-z0-9\-.]{1,64}")
_MOST_MEDICATIONS: Final = 30


@dataclass(slots=True)
class Gathered:
    """Data of one patient.

    Attributes
    ----------
    held : dict of str to list
        Resources and Bundles by key.
    missing : dict of str to str
        Keys that could not be had, each with a reason.
    begun : float
        When the call came, by the event loop's clock.
    """

    held: dict[str, list[Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    begun: float = 0.0

    def resources(self, without: Collection[str] = ()) -> list[Any]:
        """Return everything, except records of these names (``MedicationRequest/1``)."""
        return [
            _without(document, without)
            for documents in self.held.values()
            for document in documents
        ]

    def flat(self, key: str) -> list[Resource]:
        """Return the single resources under a key."""
        return [resource for document in self.held.get(key, ()) for resource in _flat(document)]

    def not_seen(self) -> list[str]:
        """Name for people what could not be had."""
        return [_NAMES[key] for key in _ALL if key in self.missing]


def sent_along(call: HookCall) -> Gathered:
    """Take what a client sent along.

    A key with ``null`` was looked up and has no data; a key that is absent, or holds an
    OperationOutcome, is missing.
    """
    found = Gathered()
    for key in _ALL:
        if key not in call.prefetch:
            found.missing[key] = f"prefetch key {key!r} is absent"
            continue
        value = call.prefetch[key]
        if value is None:
            found.held[key] = []
        elif not isinstance(value, dict):
            found.missing[key] = f"prefetch key {key!r} holds no resource"
        elif _is_failure(value):
            found.missing[key] = f"prefetch key {key!r} holds an OperationOutcome"
        else:
            found.held[key] = [_without_remarks(value)]
    return found


def _is_failure(value: Mapping[str, Any]) -> bool:
    """Whether a client could not fetch: alone, or as the only content of a Bundle."""
    if value.get("resourceType") == "OperationOutcome":
        return True
    entries = [mapping(mapping(entry).get("resource")) for entry in items(value.get("entry"))]
    return bool(entries) and all(map(_is_error, entries))


def _is_error(resource: Resource) -> bool:
    return resource.get("resourceType") == "OperationOutcome" and any(
        mapping(issue).get("severity") in ("error", "fatal")
        for issue in items(resource.get("issue"))
    )


def _without_remarks(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out a server's remarks on a search, which are no failures and no records."""
    entries = document.get("entry")
    if not isinstance(entries, list):
        return document
    kept = [entry for entry in entries if not _is_remark(entry)]
    return document if len(kept) == len(entries) else {**document, "entry": kept}


def _is_remark(entry: object) -> bool:
    resource = mapping(mapping(entry).get("resource"))
    return resource.get("resourceType") == "OperationOutcome" and not _is_error(resource)


async def complete(
    found: Gathered, call: HookCall, reader: FhirReader, keys: Sequence[str] = _ALL
) -> None:
    """Read what is missing, and further pages of what was sent, where the client lets us.

    Parameters
    ----------
    found : Gathered
        Is completed.
    call : HookCall
        Holds the leave to read.
    reader : FhirReader
        Reads listed servers only.
    keys : sequence of str
        Which data are wanted.
    """
    if call.access is None:
        return
    try:
        session = reader.session(call.access, found.begun)
    except ReadError as error:
        for key in found.missing:
            found.missing[key] += f"; {error.reason}"
        return
    wanted = {
        key: PREFETCH[key].replace("{{context.patientId}}", call.patient_id)
        for key in keys
        if key in found.missing
    }
    begun = {key: found.held[key] for key in keys if found.held.get(key)}
    read, failed, continued = await session.read_all(wanted, begun)
    for key, documents in (read | continued).items():
        found.held[key] = [_without_remarks(document) for document in documents]
        found.missing.pop(key, None)
    for key, reason in failed.items():
        found.missing[key] += f"; {reason}"
    named = _unknown_medications(found)
    if named:
        medications, _, _ = await session.read_all({name: name for name in named}, {})
        found.held["medications"] = [
            *found.held.get("medications", ()), *chain.from_iterable(medications.values()),
        ]  # fmt: skip


def _unknown_medications(found: Gathered) -> list[str]:
    """Name the Medication resources that records refer to without saying what they are."""
    known = {_name(resource) for key in found.held for resource in found.flat(key)}
    named: dict[str, None] = {}
    for key in HISTORY:
        for resource in found.flat(key):
            reference = mapping(resource.get("medicationReference"))
            name = text(reference.get("reference"))
            if _MEDICATION.fullmatch(name) and not reference.get("display") and name not in known:
                named[name] = None
    return list(named)[:_MOST_MEDICATIONS]


def require_history(found: Gathered) -> None:
    """Insist on something to count from.

    Raises
    ------
    ProblemError
        "data-missing" if neither orders nor statements of medication could be had.
    """
    require(found, HISTORY)


def require(found: Gathered, keys: Sequence[str]) -> None:
    """Insist on one of some data.

    Raises
    ------
    ProblemError
        "data-missing" if none could be had.
    """
    if not any(key in found.held for key in keys):
        reasons = ". ".join(dict.fromkeys(found.missing[key] for key in keys))
        raise ProblemError(
            "data-missing",
            f"the medication history cannot be had: {reasons}; send the prefetch, or "
            "fhirServer and fhirAuthorization of a server that this service may read",
        )


def _without(document: Any, names: Collection[str]) -> Any:
    """Leave records out of a Bundle; what it holds else stays as it is."""
    if not names or not isinstance(document, dict):
        return document
    if document.get("resourceType") != "Bundle":
        return None if _name(document) in names else document
    entries = [
        entry
        for entry in items(document.get("entry"))
        if _name(mapping(mapping(entry).get("resource"))) not in names
    ]
    return {**document, "entry": entries}


def _name(resource: Resource) -> str:
    return short_name(f"{resource.get('resourceType')}/{resource.get('id')}")


def _flat(document: Any) -> Iterator[Resource]:
    if not isinstance(document, dict):
        return
    if document.get("resourceType") != "Bundle":
        yield document
        return
    for entry in items(document.get("entry")):
        resource = mapping(entry).get("resource")
        if isinstance(resource, dict):
            yield resource
