"""Reading parts of FHIR JSON that may be malformed: a wrong type is as good as nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

Resource = Mapping[str, Any]

EMPTY: Final[Resource] = {}
_NOTHING: Final[list[Any]] = []


def mapping(value: object) -> Resource:
    """Give an object, or an empty one."""
    return value if isinstance(value, dict) else EMPTY


def items(value: object) -> list[Any]:
    """Give an array; a single object stands for an array of one."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else _NOTHING


def text(value: object) -> str:
    """Give text, or none."""
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """Give a finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            return None
        return found if math.isfinite(found) else None
    return None


def codings(concept: object) -> Iterator[tuple[str, str, str]]:
    """Go through system, code and display of a CodeableConcept."""
    for coding in items(mapping(concept).get("coding")):
        if isinstance(coding, dict):
            yield text(coding.get("system")), text(coding.get("code")), text(coding.get("display"))


def words(concept: object) -> list[str]:
    """Give the text of a CodeableConcept and the displays of its codes, those there are."""
    found = [text(mapping(concept).get("text")), *(display for _, _, display in codings(concept))]
    return [part for part in found if part]


def fingerprint(*parts: object) -> str | None:
    """Give a text that is the same for equal parts only, to look answers up by; or None.

    Charts repeat their instructions and codes many times over.
    """
    try:
        return repr(parts)
    except RecursionError:  # nested deeper than any FHIR record
        return None
