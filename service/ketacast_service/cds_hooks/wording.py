"""Texts of cards: plain sentences in Markdown, numbers only from a prediction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ketacast.history import ChartRater, Era, HistoryCount
from ketacast.history.text import counted_word
from ketacast_service.cds_hooks.orders import MOST, Planned

Json = Mapping[str, Any]

LONGEST_SUMMARY: Final = 139
_LONGEST_LINE: Final = 240
_MOST_LINES: Final = 12
_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|~#&!])")
_ADDRESS: Final = re.compile(r"://|@|\bwww\.", re.IGNORECASE)

_RATERS: Final = {"self": "the patient", "clinician": "a clinician", "unknown": "unknown"}
#: Flags that are told in a sentence of their own.
_TOLD_APART: Final = frozenset({"no_antidepressant_data", "above_20"})
#: Warnings of the model that a flag of the count says already.
_SAID_BY_FLAGS: Final = frozenset({"not_treatment_resistant", "group_level_evidence"})
OUTSIDE: Final = frozenset({"psychosis", "fewer_than_two_failed_trials"})

DEFINITIONS: Final = (
    "To respond: the depression score falls by half or more. To remit: it falls below the "
    "scale's cut-off. The likely range is for the rate in a clinic not yet seen (80 %), not for "
    "one person's fate."
)
LIMITS: Final = (
    "From published groups treated with intravenous racemic ketamine for treatment-resistant "
    "depression; uncontrolled rates, which include placebo response and natural course. Nothing "
    "on harms or other treatments, and no advice to start, continue or stop. Not a medical "
    "device; check the count against what you know. Not for urgent decisions."
)


def plain(words: str) -> str:
    """Return text of a record so that Markdown shows it and does not act on it."""
    line = " ".join(words.split())
    if len(line) > _LONGEST_LINE:
        line = line[: _LONGEST_LINE - 1] + "…"
    return _SPECIAL.sub(r"\\\1", _ADDRESS.sub(" ", line))


def of_100(probability: float) -> str:
    """Write a probability as a number of 100 patients, as every channel does."""
    return f"{100 * probability:.0f}"


def span(outcome: Json, level: str) -> str:
    """Write the range of a clinic not yet seen."""
    low, high = outcome["new_clinic"][level]
    return f"{of_100(low)} to {of_100(high)}"


def summary(answer: Json, planned: Planned, outside: str) -> str:
    """Write the answer in one sentence of less than 140 characters.

    Parameters
    ----------
    answer : mapping
        ``Prediction.to_dict()``.
    planned : Planned
        Infusions, and whether they were assumed.
    outside : str
        What comes first where the patient is outside the evidence; may be empty.
    """
    response, remission = answer["response"], answer["remission"]
    assumed = " (assumed)" if planned.basis == "assumed" else ""
    noun = "infusion" if planned.infusions == 1 else "infusions"
    return (
        f"{outside}After {planned.infusions}{assumed} {noun} about {of_100(response['expected'])} "
        f"of 100 respond (likely range {span(response, '0.8')}), about "
        f"{of_100(remission['expected'])} remit ({span(remission, '0.8')})"
    )


def outside_words(count: HistoryCount) -> str:
    """Say first of all that a patient is outside the evidence, or may be."""
    codes = {flag.code for flag in count.flags}
    if "psychosis" in codes or ("fewer_than_two_failed_trials" in codes and count.used.high < 2):
        return "Outside the evidence. "
    return "Perhaps outside the evidence. " if codes & OUTSIDE else ""


def table(answer: Json) -> str:
    """Write chances and ranges as a small table."""
    lines = ["| of 100 such patients | about | likely range (80 %) | wider range (95 %) |",
             "|---|---|---|---|"]  # fmt: skip
    for verb, name in (("respond", "response"), ("remit", "remission")):
        outcome = answer[name]
        lines.append(
            f"| {verb} | {of_100(outcome['expected'])} | {span(outcome, '0.8')} "
            f"| {span(outcome, '0.95')} |"
        )
    return "\n".join(lines)


def inputs(count: HistoryCount, planned: Planned, rater: ChartRater) -> str:
    """Say what was put in, and where it comes from."""
    low, high = count.failed_trials
    number = str(low) if low == high else f"{low} to {high}"
    trials = (
        f"**Failed trials: {number}** in the current episode, counted in the chart "
        f"(usual rule {count.usual_current_episode}; lifetime {count.lifetime})."
    )
    scale = f"**Rated by: {_RATERS[rater.rater]}**, because {plain(rater.reason)}."
    return "\n".join([f"- {trials}", f"- {infusions_words(planned)}", f"- {scale}"])


def infusions_words(planned: Planned) -> str:
    """Say how many infusions were taken, and why."""
    if planned.basis == "assumed":
        return (
            f"**Infusions: {planned.infusions}, assumed:** the order carries no number of "
            "infusions."
        )
    stated = " and ".join(map(str, planned.stated))
    if planned.basis == "above-limit":
        return (
            f"**Infusions: {planned.infusions}:** the order carries {stated}; the model answers "
            f"for 1 to {MOST}."
        )
    if len(planned.stated) > 1:
        return (
            f"**Infusions: {planned.infusions}:** the orders carry {stated}; the highest is used."
        )
    return f"**Infusions: {planned.infusions}**, from the order."


def counted(count: HistoryCount) -> Iterator[str]:
    """List what was counted, what perhaps, and what not, each with the reason."""
    groups: dict[str, list[Era]] = {"yes": [], "perhaps": [], "earlier": [], "no": []}
    for era in count.eras:
        if era.reason.code != "same_drug":
            groups[counted_word(era.strict, era.lenient)].append(era)
    for word, title in (
        ("yes", "Counted"),
        ("perhaps", "Counted in the upper end only"),
        ("earlier", "Not counted: an earlier episode"),
        ("no", "Not counted"),
    ):
        if groups[word]:
            yield _list(title, [_era(era) for era in groups[word]])
    beside = [f"{plain(entry.name)}: {plain(entry.sentence)}" for entry in count.reported]
    if beside:
        yield _list("Beside the count", beside)


def seen(count: HistoryCount, not_seen: Sequence[str]) -> list[str]:
    """List what was found where it was not enough for figures."""
    found = list(counted(count))
    lines = [plain(notice) for notice in count.notices]
    if not_seen:
        lines.append(f"not seen: {', '.join(not_seen)}")
    return [*found, bullets("Remarks", lines)] if lines else found


def remarks(
    count: HistoryCount, answer: Json, not_seen: Sequence[str], *, other_route: bool
) -> list[str]:
    """List what limits the answer for this patient, the weightiest first."""
    flags = [plain(flag.message) for flag in count.flags if flag.code not in _TOLD_APART]
    found = list(flags)
    if other_route:
        found.append("the order names another way than the vein; the evidence is intravenous")
    if count.used.high > count.failed_trials[1]:
        found.append(f"the chart shows {count.used}; the model answers for up to 20")
    if not_seen:
        found.append(f"not seen: {', '.join(not_seen)}")
    found += [plain(notice) for notice in count.notices]
    return found + [
        plain(warning["message"])
        for warning in answer["warnings"]
        if warning["code"] not in _SAID_BY_FLAGS
    ]


def bullets(title: str, lines: Iterable[str]) -> str:
    """Write a titled list."""
    return _list(title, list(lines))


def _era(era: Era) -> str:
    reasons = "; ".join(plain(reason.sentence) for reason in era.reasons)
    return f"{plain(era.ingredient)}: {reasons}"


def _list(title: str, lines: Sequence[str]) -> str:
    shown = [f"- {line}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"- … and {len(lines) - _MOST_LINES} more")
    return "\n".join([f"**{title}**", "", *shown])
