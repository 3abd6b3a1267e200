"""What the diagnoses of a chart and the age say on whether the model fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Final, NamedTuple

from ketacast.history.concepts import Diagnosis, diagnosis, status_code
from ketacast.history.dates import days_of
from ketacast.history.fhir import Resource, mapping
from ketacast.history.records import Chart
from ketacast.history.result import MOST_TRIALS, CountRange, Flag

_ACTIVE: Final = frozenset({"active", "recurrence", "relapse", ""})
_REFUTED: Final = frozenset({"refuted", "entered-in-error"})
_ADULT: Final = 18


class Diagnoses(NamedTuple):
    """Diagnoses by kind with their records, and when the active depression began."""

    sources: dict[Diagnosis, list[str]]
    onset: int | None
    any_condition: bool


def read_diagnoses(chart: Chart, as_of: int) -> Diagnoses:
    """Read the conditions of a chart.

    The onset is the earliest recorded one of the depressive disorders that are
    active: a problem list often repeats a diagnosis at every visit.
    """
    sources: dict[Diagnosis, list[str]] = defaultdict(list)
    onsets: list[int] = []
    undated = False
    conditions = chart.of("Condition")
    for source, condition in conditions:
        if status_code(mapping(condition.get("verificationStatus"))) in _REFUTED:
            continue
        kinds = diagnosis(condition.get("code"))
        onset = _onset(condition)
        if onset is not None and onset > as_of:
            continue
        for kind in kinds:
            sources[kind].append(source)
        if "depression" in kinds and _is_active(condition):
            if onset is None:
                undated = True
            else:
                onsets.append(onset)
    onset = min(onsets, default=None) if not undated else None
    return Diagnoses({kind: sorted(found) for kind, found in sources.items()}, onset,
                     bool(conditions))  # fmt: skip


def _is_active(condition: Resource) -> bool:
    ended = any(name in condition for name in ("abatementDateTime", "abatementPeriod"))
    return status_code(mapping(condition.get("clinicalStatus"))) in _ACTIVE and not ended


def _onset(condition: Resource) -> int | None:
    period = mapping(condition.get("onsetPeriod"))
    days = days_of(condition.get("onsetDateTime")) or days_of(period.get("start"))
    return None if days is None else days.first


def flags_of(
    chart: Chart,
    found: Diagnoses,
    used: CountRange,
    *,
    as_of: int,
    any_drug: bool,
    recent_drug: bool,
    is_counted: bool,
) -> tuple[Flag, ...]:
    """Collect what speaks against using the model for this patient.

    Parameters
    ----------
    chart : Chart
        For the age.
    found : Diagnoses
        From :func:`read_diagnoses`.
    used : CountRange
        The count that will be used.
    as_of : int
        Index day.
    any_drug, recent_drug : bool
        Whether the chart has an antidepressant at all, and one in the current episode.
    is_counted : bool
        Whether the count says something: there was something to count.
    """
    flags: list[Flag] = [*_diagnosis_flags(found)]
    if _is_minor(chart, as_of):
        flags.append(Flag("under_18", "under 18 at the index date: the evidence is of adults"))
    if used.low < 2 and is_counted:
        sure = "fewer than two" if used.high < 2 else "perhaps fewer than two"
        flags.append(
            Flag(
                "fewer_than_two_failed_trials",
                f"{sure} failed trials: treatment resistance is not shown, and few of the "
                "patients in the evidence had so few",
            )
        )
    if used.high > MOST_TRIALS:
        flags.append(
            Flag("above_20", f"more than {MOST_TRIALS} failed trials: taken as {MOST_TRIALS}")
        )
    if not any_drug:
        flags.append(Flag("no_antidepressant_data", "the records hold no antidepressant treatment"))
    elif not recent_drug:
        flags.append(
            Flag(
                "no_recent_antidepressant",
                "no antidepressant for a long time before the index date: by the rules the "
                "current episode has no treatment yet; count yourself if it was treated elsewhere",
            )
        )
    return tuple(sorted(flags, key=lambda flag: flag.code))


def _diagnosis_flags(found: Diagnoses) -> Iterable[Flag]:
    if found.sources.get("psychosis"):
        yield Flag(
            "psychosis",
            "psychosis is recorded: most studies of ketamine left such patients out",
            tuple(found.sources["psychosis"]),
        )
    if found.sources.get("bipolar"):
        yield Flag(
            "bipolar",
            "bipolar disorder is recorded: a small part of the evidence",
            tuple(found.sources["bipolar"]),
        )
    if found.any_condition and not found.sources.get("depression"):
        yield Flag("no_depression_recorded", "no depressive disorder is among the diagnoses")


def _is_minor(chart: Chart, as_of: int) -> bool:
    """Tell whether the patient is under 18; the birth date itself is never put out."""
    for _, patient in chart.of("Patient"):
        born = days_of(patient.get("birthDate"))
        if born is not None:
            last = date.fromordinal(born.last)
            day = min(last.day, 28) if last.month == 2 else last.day
            grown = date(last.year + _ADULT, last.month, day)
            return as_of < grown.toordinal()
    return False
