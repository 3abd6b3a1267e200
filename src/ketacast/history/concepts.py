"""What a treatment was for, why it stopped, and what a diagnosis is.

Codes first, words last. Only codes whose meaning is beyond doubt are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from ketacast.history.fhir import Resource, codings, words
from ketacast.history.plain_words import folded

Diagnosis = Literal["depression", "bipolar", "psychosis", "mental", "other", ""]
Outcome = Literal["failure", "partial", "intolerance", "unrelated", "success", ""]

_SNOMED: Final = {
    "370143000": "depression",  # major depressive disorder
    "35489007": "depression",  # depressive disorder
    "36923009": "depression",  # major depression, single episode
    "310495003": "depression",  # mild
    "310496002": "depression",  # moderate
    "310497006": "depression",  # severe
    "87512008": "depression",  # mild major
    "832007": "depression",  # moderate major
    "450714000": "depression",  # severe major
    "58703003": "depression",  # postpartum
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
    "230572002": "other",  # diabetic neuropathy
    "82423001": "other",  # chronic pain
    "203082005": "other",  # fibromyalgia
    "37796009": "other",  # migraine
    "77176002": "other",  # smoker
    "449868002": "other",  # smokes daily
}
#: ICD-10 with its national versions; the longest prefix decides.
_ICD_KINDS: Final[dict[Diagnosis, str]] = {
    "depression": "F32 F33 F34.1 F53.0",
    "bipolar": "F30 F31 F34.0",
    "psychosis": "F2",
    "mental": "F06.3 F06.4 F4 F50 F60 F63 F84 F90 F91 F94",
    "other": "F32.81 F45.4 F51 F52 F17 F98.0 E08.4 E09.4 E10.4 E11.4 E13.4 E66 B02.2 G25.81 "
    "G43 G44 G47 G5 G6 G89 G90 K58 L29 L50 M N32 N39 N94 N95 R07 R10 R32 R51 R52 R61 R63 Z72.0 "
    "Z87.891",
}
_ICD9_KINDS: Final[dict[Diagnosis, str]] = {
    "depression": "296.2 296.3 300.4 311",
    "bipolar": "296.0 296.1 296.4 296.5 296.6 296.7 296.8",
    "psychosis": "295 297 298",
    "mental": "300.0 300.2 300.3 307.1 307.5 308 309 314",
    "other": "250.6 305.1 307.4 307.8 327 338 339 346 350 351 354 355 356 357 625.4 627 "
    "729 72 73 780.5 784.0 788.3",
}


def _longest_first(kinds: dict[Diagnosis, str]) -> tuple[tuple[str, Diagnosis], ...]:
    pairs = [(prefix, kind) for kind, prefixes in kinds.items() for prefix in prefixes.split()]
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0])))


_ICD: Final = _longest_first(_ICD_KINDS)
_ICD9: Final = _longest_first(_ICD9_KINDS)
_ICD_PSYCHOTIC: Final = ("F32.3", "F33.3", "296.24", "296.34")
_NOT_MOOD: Final = re.compile(
    r"screen|anti-?depress|respiratory depr|marrow|myocardi|\bst[- ]depr|cns depr|\bno depr|family|"
    r"risk of|rule out"
)
_WORDS: Final[tuple[tuple[re.Pattern[str], Diagnosis], ...]] = tuple(
    (re.compile(pattern), found)  # type: ignore[misc]  # the pairs below hold the five names
    for pattern, found in (
        (r"bipolar|\bmani[ac]\b|manic", "bipolar"),
        (r"schizo|(?<!non-)(?<!without )psychos[ei]s|psychotic dis|with psychotic", "psychosis"),
        (r"premenstrual|\bpmdd\b", "other"),
        (r"depress|depresi|dysthym|\bmdd\b|\btrd\b", "depression"),
        (
            (
                r"anxi|panic|phobi|\bocd\b|obsessi|\bptsd\b|post-?traumatic|bulimi|\badhd\b|"
                r"\bgad\b|angst|ansi(?:a|e)|zwang|autis"
            ),
            "mental",
        ),
        (
            (
                r"insomni|sleep|pain|neuropath|neuralgi|fibromyalg|migrain|headache|smok|tobacco|"
                r"nicotin|incontinen|enures|irritable bowel|vasomotor|hot flush|hot flash|weight|"
                r"obes|pruritus|urticaria|parkinson|arthr|cataplex|narcolep|ejaculat|appetite|"
                r"restless leg|\bibs\b|sweating|hyperhidro|menopaus|schmerz|schlaf|douleur|dolor\b|"
                r"neuropat"
            ),
            "other",
        ),
    )
)

_STOP_CODES: Final[dict[str, Outcome]] = {
    "sintol": "intolerance",
    "salg": "intolerance",
    "drughigh": "intolerance",
    "preg": "unrelated",
    "sddi": "unrelated",
    "labint": "unrelated",
    "non-avail": "unrelated",
    "surg": "unrelated",
}
_STOP_WORDS: Final[tuple[tuple[re.Pattern[str], Outcome], ...]] = tuple(
    (re.compile(pattern), found)  # type: ignore[misc]  # the pairs below hold the four names
    for pattern, found in (
        (r"partial|suboptimal|incomplete (?:response|remission)", "partial"),
        (
            (
                r"ineffect|inefficac|no longer effective|stopped working|fail|"
                r"(?:no|lack of|inadequate|insufficient|poor) (?:drug |therapeutic |clinical )?"
                r"(?:action|efficacy|effect|response|benefit|improvement|relief|control)|"
                r"(?:not|n't) (?:\w+ )?(?:work|help|respon|improv|resolv|recover|effective|remit)|"
                r"(?:not|never) (?:yet )?in (?:full |complete )?remission|no remission|unresolved|"
                r"non-?respon|still depress|respon\w+ poorly|worsen|"
                r"wirkungslos|unwirksam|nicht wirksam"
            ),
            "failure",
        ),
        (
            (
                r"intoler|side[- ]effect|adverse|allerg|(?:not|poorly) (?:well )?tolerat|rash|"
                r"nausea|hyponatr|bleed|sexual dys|toxic|nebenwirkung|unvertrag|effet indesirable|"
                r"efecto adverso"
            ),
            "intolerance",
        ),
        # Not for its effect, so that nothing is known on the effect.
        (
            (
                r"pregnan|breast-?feed|\bcost\b|too expensive|insurance|afford|formulary|"
                r"unavailab|not available|shortage|interaction|non-?(?:adheren|complian)|"
                r"not (?:adherent|compliant)|lost to follow|surgery|patient (?:choice|preference)"
            ),
            "unrelated",
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
    if "icd-10" not in system.lower() and "icd-9" not in system.lower():
        return frozenset()
    code = code.upper()
    dotted = code if "." in code or len(code) <= 3 else f"{code[:3]}.{code[3:]}"
    if dotted.startswith(_ICD_PSYCHOTIC):
        return frozenset({"depression", "psychosis"})
    return _by_prefix(dotted, _ICD9 if "icd-9" in system.lower() else _ICD)


def _by_prefix(code: str, table: tuple[tuple[str, Diagnosis], ...]) -> frozenset[Diagnosis]:
    for prefix, found in table:
        if code.startswith(prefix):
            return frozenset({found})
    return frozenset()


@lru_cache(maxsize=4096)
def _worded(part: str) -> frozenset[Diagnosis]:
    lowered = folded(part[:200])
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
    lowered = folded(part[:200])
    for pattern, outcome in _STOP_WORDS:
        if pattern.search(lowered):
            return outcome
    return ""


def status_code(concept: Resource) -> str:
    """Give the first code of a status."""
    return next((code for _, code, _ in codings(concept)), "")
