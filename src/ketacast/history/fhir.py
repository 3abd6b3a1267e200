"""Reading parts of FHIR JSON that may be malformed: a wrong type is as good as nothing."""

from __future__ import annotations

import marshal
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

Resource = Mapping[str, Any]

EMPTY: Final[Resource] = {}
#: Other names of code systems, without ``https://`` or ``urn:oid:`` before them.
_SYSTEMS: Final = {
    "www.nlm.nih.gov/research/umls/rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "2.16.840.1.113883.6.88": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "www.whocc.no/atc": "http://www.whocc.no/atc",
    "2.16.840.1.113883.6.73": "http://www.whocc.no/atc",
    "fhir.de/codesystem/bfarm/atc": "http://www.whocc.no/atc",
    "fhir.de/codesystem/dimdi/atc": "http://www.whocc.no/atc",
    "atc": "http://www.whocc.no/atc",
    "snomed.info/sct": "http://snomed.info/sct",
    "2.16.840.1.113883.6.96": "http://snomed.info/sct",
    "loinc.org": "http://loinc.org",
    "2.16.840.1.113883.6.1": "http://loinc.org",
    "www.ama-assn.org/go/cpt": "http://www.ama-assn.org/go/cpt",
    "2.16.840.1.113883.6.12": "http://www.ama-assn.org/go/cpt",
    "2.16.840.1.113883.6.90": "http://hl7.org/fhir/sid/icd-10-cm",
    "2.16.840.1.113883.6.3": "http://hl7.org/fhir/sid/icd-10",
    "1.2.276.0.76.5.409": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "2.16.840.1.113883.6.103": "http://hl7.org/fhir/sid/icd-9-cm",
}
_PREFIXES: Final = ("https://", "http://", "urn:oid:", "oid:")
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


@lru_cache(maxsize=1024)
def system_name(system: str) -> str:
    """Give the usual name of a code system that may be written in another way."""
    name = system.strip().lower().rstrip("/")
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return _SYSTEMS.get(name, system)


def codings(concept: object) -> Iterator[tuple[str, str, str]]:
    """Go through system, code and display of a CodeableConcept."""
    for coding in items(mapping(concept).get("coding")):
        if isinstance(coding, dict):
            system, code = text(coding.get("system")), text(coding.get("code"))
            yield system_name(system), code.strip(), text(coding.get("display"))


def words(concept: object) -> list[str]:
    """Give the text of a CodeableConcept and the displays of its codes, those there are."""
    found = [text(mapping(concept).get("text")), *(display for _, _, display in codings(concept))]
    return [part for part in found if part]


def fingerprint(*parts: object) -> object:
    """Give what is the same for equal parts only, to look answers up by; or None.

    Charts repeat their instructions and codes many times over.
    """
    try:
        # A fifth of the time of repr, and safe from parts that hold themselves. Where
        # equal parts give other bytes, they are but read again.
        return marshal.dumps(parts)  # type: ignore[arg-type]  # what it refuses is caught
    except ValueError:  # other types than those of JSON, or nested very deeply
        pass
    try:
        return repr(parts)
    except RecursionError:  # nested deeper than any FHIR record
        return None
