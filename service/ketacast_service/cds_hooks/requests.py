"""A call as a CDS Hooks client sends it: strict on what is needed, patient with all else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ketacast_service.cds_hooks.discovery import HookService
from ketacast_service.errors import ProblemError

Json = Mapping[str, Any]

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NOT_CLINICIANS: Final = frozenset({"Patient", "RelatedPerson"})
_MOST_FULL_URL: Final = 400


@dataclass(frozen=True, slots=True)
class Access:
    """Leave to read a client's FHIR server, for this call only.

    Attributes
    ----------
    server : str
        Base address of the server.
    token : str
        Bearer token: never stored, logged or handed on.
    """

    server: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call of a service.

    Attributes
    ----------
    patient_id : str
        The logical id.
    user_type : str
        Kind of user, for example ``Practitioner``.
    orders : tuple of mapping
        The draft orders to judge: on order-select only the selected ones.
    context_entries : tuple of mapping
        All resources of the draft orders, for references between them.
    prefetch : mapping
        What the client sent along, by key; None where it found nothing.
    access : Access or None
        Leave to read the client's FHIR server.
    """

    patient_id: str = field(repr=False)
    user_type: str
    orders: tuple[Json, ...] = field(repr=False)
    context_entries: tuple[Json, ...] = field(repr=False)
    prefetch: Json = field(repr=False)
    access: Access | None = field(repr=False)

    @property
    def is_for_clinician(self) -> bool:
        """Whether a clinician asks: patients and relatives are shown nothing."""
        return self.user_type not in _NOT_CLINICIANS


def read_call(body: bytes, service: HookService) -> HookCall:
    """Read the body of a call.

    Parameters
    ----------
    body : bytes
        As sent.
    service : HookService
        The service that was called.

    Raises
    ------
    ProblemError
        "malformed-request" if a field that is needed is missing or of another kind, the
        call is of another hook, or data is of another patient.
    """
    document = read_json_object(body)
    if document.get("hook") != service.hook:
        _refuse(f"hook is not {service.hook!r}, which this service is for; call the service of it")
    _text(document, "hookInstance", "an identifier of this call")
    context = _object(document, "context")
    patient_id = _patient_id(context)
    user_type = _user_type(_text(context, "userId", "for example Practitioner/123", "context/"))
    prefetch = document.get("prefetch")
    if prefetch is None:
        prefetch = {}
    if not isinstance(prefetch, dict):
        _refuse("prefetch is no object; give keys with resources, or leave it out")
    _check_prefetched_patient(prefetch, patient_id)
    entries: tuple[Json, ...] = ()
    orders: tuple[Json, ...] = ()
    if service.hook != "patient-view":
        entries = _draft_orders(context)
        orders = entries
        if service.hook == "order-select":
            orders = _selected(context, orders)
    return HookCall(patient_id, user_type, orders, entries, prefetch, _access(document, patient_id))


def read_json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ProblemError
        "malformed-request" if it is none.
    """
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        _refuse("the body is not JSON in UTF-8, or is nested too deeply; correct it")
    if not isinstance(found, dict):
        _refuse("the body is no JSON object; give one")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse(detail: str) -> NoReturn:
    raise ProblemError("malformed-request", detail)


def _text(document: Json, name: str, remedy: str, place: str = "") -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        _refuse(f"{place}{name} is missing or no text; give {remedy}")
    return value


def _object(document: Json, name: str, place: str = "") -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        _refuse(f"{place}{name} is missing or no object; give it as CDS Hooks describes it")
    return value


def _patient_id(context: Json) -> str:
    given = _text(context, "patientId", "the patient's FHIR id", "context/")
    found = given.removeprefix("Patient/")
    if _ID.fullmatch(found) is None:
        _refuse("context/patientId is no FHIR id; give up to 64 letters, digits, '-' and '.'")
    return found


def _user_type(user: str) -> str:
    """Kind of user of ``Practitioner/1``, an absolute address, or a bare kind."""
    parts = user.split("/_history/", maxsplit=1)[0].rstrip("/").split("/")
    return parts[-2] if len(parts) > 1 else parts[0]


def _check_prefetched_patient(prefetch: Json, patient_id: str) -> None:
    patient = prefetch.get("patient")
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        return
    if patient.get("id", patient_id) != patient_id:
        _refuse("prefetch/patient is another patient than context/patientId; send the same")


def _draft_orders(context: Json) -> tuple[Json, ...]:
    bundle = _object(context, "draftOrders", "context/")
    entries = bundle.get("entry")
    if entries is not None and not isinstance(entries, list):
        _refuse("context/draftOrders/entry is no array; give the orders in one")
    found = []
    for entry in entries or []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            url = entry.get("fullUrl")
            is_named = isinstance(url, str) and len(url) <= _MOST_FULL_URL
            found.append({**resource, "id": url} if is_named and "id" not in resource else resource)
    return tuple(found)


def _selected(context: Json, orders: tuple[Json, ...]) -> tuple[Json, ...]:
    names = context.get("selections")
    if not isinstance(names, list):
        _refuse("context/selections is missing or no array; give the ids of the selected orders")
    wanted = {name for name in names if isinstance(name, str)}
    return tuple(order for order in orders if wanted & _names(order))


def _names(order: Json) -> set[str]:
    kind, name = order.get("resourceType"), order.get("id")
    return {f"{kind}/{name}", str(name)} if isinstance(name, str) else set()


def _access(document: Json, patient_id: str) -> Access | None:
    given = document.get("fhirAuthorization")
    if given is None:
        return None
    if not isinstance(given, dict):
        _refuse("fhirAuthorization is no object; give it whole, or leave it out")
    server = document.get("fhirServer")
    if not isinstance(server, str) or not server:
        _refuse("fhirServer is missing beside fhirAuthorization; give both or neither")
    for_patient = given.get("patient")
    if isinstance(for_patient, str) and for_patient.removeprefix("Patient/") != patient_id:
        _refuse("fhirAuthorization/patient is another patient than context/patientId")
    token = given.get("access_token")
    is_usable = isinstance(token, str) and token.isascii() and token.isprintable() and token
    kind = given.get("token_type", "Bearer")
    if not is_usable or not isinstance(kind, str) or kind.lower() != "bearer":
        _refuse("fhirAuthorization holds no Bearer token; give access_token and token_type")
    return Access(server, str(token))
