"""What a treatment was for, why it stopped, and what a diagnosis is.

Codes first, words last. Only codes whose meaning is beyond doubt are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from ketacast.history.fhir import Resource, codings, words

Diagnosis = Literal["depression", "bipolar", "psychosis", "mental", "other", ""]
Outcome = Literal["failure", "partial", "intolerance", "success", ""]

_SNOMED: Final = {
    "370143000": "depression",  # major depressive disorder
    "35489007": "depression",  # depressive disorder
    "36923009": "depression",  # major depression, single episode
    "66344007": "depression",  # recurrent major depression
    "78667006": "depression",  # dysthymia
    "13746004": "bipolar",
    "69322001": "psychosis",
    "58214004": "psychosis",  # schizophrenia
    "68890003": "psychosis",  # schizoaffective disorder
    "21897009": "mental",  # generalised anxiety disorder
    "197480006": "mental",  # anxiety disorder
    "371631005": "mental",  # panic disorder
    "191736004": "mental",  # obsessive-compulsive disorder
    "47505003": "mental",  # post-traumatic stress disorder
    "193462001": "other",  # insomnia
    "22253000": "other",  # pain
    "82423001": "other",  # chronic pain
    "203082005": "other",  # fibromyalgia
    "37796009": "other",  # migraine
    "77176002": "other",  # smoker
    "449868002": "other",  # smokes daily
}
#: ICD-10 and ICD-10-CM, the longest match first.
_ICD: Final[tuple[tuple[str, Diagnosis], ...]] = (
    ("F32.81", "other"),
    ("F06.3", "mental"),
    ("F2", "psychosis"),
    ("F30", "bipolar"),
    ("F31", "bipolar"),
    ("F32", "depression"),
    ("F33", "depression"),
    ("F34.1", "depression"),
    ("F4", "mental"),
    ("F50", "mental"),
    ("F51", "other"),
    ("F17", "other"),
    ("G47", "other"),
    ("G43", "other"),
    ("G89", "other"),
    ("G6", "other"),
    ("M", "other"),
    ("N39", "other"),
    ("N94.3", "other"),
    ("N95", "other"),
    ("R52", "other"),
    ("Z72.0", "other"),
    ("E66", "other"),
)
_ICD_PSYCHOTIC: Final = ("F32.3", "F33.3")
_NOT_MOOD: Final = re.compile(
    r"screen|anti-?depress|respiratory depr|marrow|myocardi|st[- ]depr|cns depr|no depr|family|"
    r"risk of|rule out"
)
_WORDS: Final[tuple[tuple[re.Pattern[str], Diagnosis], ...]] = tuple(
    (re.compile(pattern), found)  # type: ignore[misc]  # the pairs below hold the five names
    for pattern, found in (
        (r"bipolar|\bmani[ac]\b|manic", "bipolar"),
        (r"schizo|(?<!non-)(?<!without )psychos[ei]s|psychotic dis|with psychotic", "psychosis"),
        (r"premenstrual|\bpmdd\b", "other"),
        (r"depress|dysthym|\bmdd\b", "depression"),
        (r"anxi|panic|phobi|\bocd\b|obsessive|\bptsd\b|post-?traumatic|bulimi|\badhd\b", "mental"),
        (
            (
                r"insomni|sleep|pain|neuropath|neuralgi|fibromyalg|migrain|headache|smok|tobacco|"
                r"nicotin|incontinen|enures|irritable bowel|vasomotor|hot flush|hot flash|weight|"
                r"obes|pruritus|urticaria|parkinson|arthr"
            ),
            "other",
        ),
    )
)

_STOP_CODES: Final[dict[str, Outcome]] = {"sintol": "intolerance", "salg": "intolerance"}
_STOP_WORDS: Final[tuple[tuple[re.Pattern[str], Outcome], ...]] = tuple(
    (re.compile(pattern), found)  # type: ignore[misc]  # the pairs below hold the four names
    for pattern, found in (
        (r"partial", "partial"),
        (
            (
                r"ineffect|inefficac|not (?:been )?effective|no (?:response|effect|benefit)|"
                r"non-?respon|lack of (?:efficacy|effect|response|benefit)|no longer effective|"
                r"(?:inadequate|insufficient|poor) (?:response|effect)|fail|stopped working|"
                r"(?:not|n't) (?:work|help|respond|improve)|still depress|respon\w+ poorly"
            ),
            "failure",
        ),
        (
            (
                r"intoler|side[- ]effect|adverse|allerg|(?:not|poorly) (?:well )?tolerat|rash|"
                r"nausea|hyponatr|bleed|sexual dys|toxic"
            ),
            "intolerance",
        ),
        (
            (
                r"(?:in|full|complete) remission|remitted|recovered|responded|resolved|improved|"
                r"no longer (?:needed|indicated)|\bsuccess"
            ),
            "success",
        ),
    )
)
_ICD_SYSTEMS: Final = ("icd-10", "2.16.840.1.113883.6.90", "2.16.840.1.113883.6.3")


def diagnosis(concept: object) -> frozenset[Diagnosis]:
    """Tell what a coded diagnosis is; one may be two, as psychotic depression is."""
    found: set[Diagnosis] = set()
    for system, code, _ in codings(concept):
        found |= _coded(system, code)
    if not found:
        for part in words(concept):
            found |= _worded(part)
    return frozenset(found)


@lru_cache(maxsize=4096)
def _coded(system: str, code: str) -> frozenset[Diagnosis]:
    if system == "http://snomed.info/sct":
        known = _SNOMED.get(code)
        return frozenset({known}) if known else frozenset()  # type: ignore[arg-type]
    if any(part in system for part in _ICD_SYSTEMS):
        dotted = code if "." in code or len(code) <= 3 else f"{code[:3]}.{code[3:]}"
        if dotted.startswith(_ICD_PSYCHOTIC):
            return frozenset({"depression", "psychosis"})
        for prefix, found in _ICD:
            if dotted.startswith(prefix):
                return frozenset({found})
    return frozenset()


@lru_cache(maxsize=4096)
def _worded(part: str) -> frozenset[Diagnosis]:
    lowered = part[:200].lower()
    if _NOT_MOOD.search(lowered):
        return frozenset()
    found: set[Diagnosis] = set()
    for pattern, kind in _WORDS:
        if pattern.search(lowered):
            found.add(kind)
            if kind in ("bipolar", "other"):
                break  # bipolar depression is no depression of the kind meant
    return frozenset(found)


def use_of(found: Iterable[Diagnosis]) -> Diagnosis:
    """Choose what a treatment counts as, of all that it was recorded for."""
    kinds = set(found)
    for kind in ("depression", "bipolar", "psychosis", "mental", "other"):
        if kind in kinds:
            return "mental" if kind in ("bipolar", "psychosis") else kind
    return ""


def stop_reason(concepts: Iterable[object]) -> Outcome:
    """Tell why a treatment stopped, if the record says."""
    for concept in concepts:
        for _, code, _ in codings(concept):
            if code in _STOP_CODES:
                return _STOP_CODES[code]
        for part in words(concept):
            found = outcome_of_words(part)
            if found:
                return found
    return ""


@lru_cache(maxsize=4096)
def outcome_of_words(part: str) -> Outcome:
    """Read an outcome from words."""
    lowered = part[:200].lower()
    for pattern, outcome in _STOP_WORDS:
        if pattern.search(lowered):
            return outcome
    return ""


def status_code(concept: Resource) -> str:
    """Give the first code of a status."""
    return next((code for _, code, _ in codings(concept)), "")
