"""The part of FHIR search that prefetch templates use, over resources in memory."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]


def answer(query: str, chart: list[Json]) -> Json | None:
    """Answer a query relative to a server: a resource, a Bundle, or None if there is none."""
    path, _, parameters = query.partition("?")
    kind, _, name = path.partition("/")
    held = [resource for resource in chart if resource.get("resourceType") == kind]
    if name:
        return next((resource for resource in held if resource.get("id") == name), None)
    wanted = dict(parse_qsl(parameters))
    found = [resource for resource in held if _matches(resource, wanted)]
    if wanted.get("_sort") == "-date":
        found.sort(key=lambda resource: str(resource.get("effectiveDateTime", "")), reverse=True)
    if "_count" in wanted:
        found = found[: int(wanted["_count"])]
    entries = [{"resource": resource} for resource in found]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries}


def _matches(resource: Json, wanted: dict[str, str]) -> bool:
    if "patient" in wanted:
        reference = resource.get("subject", {}).get("reference", "")
        if reference.replace(":", "/").rpartition("/")[2] != wanted["patient"]:
            return False
    if "code" in wanted:
        system, _, code = wanted["code"].rpartition("|")
        codings = resource.get("code", {}).get("coding", [])
        return any(
            coding.get("code") == code and coding.get("system") == system for coding in codings
        )
    return True
