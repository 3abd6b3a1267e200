"""The limits that go with a prediction, as stable codes and plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ketacast.prediction import Inputs, Notice

GROUP_LEVEL = Notice(
    "group_level_evidence",
    "The range is for the rate in a clinic among patients with these inputs, from published "
    "groups; it is not one person's fate. The rates are uncontrolled and include placebo "
    "response and natural course.",
)
ASSUMED_SLOPE = Notice(
    "assumed_failed_trials_slope",
    "The effect of failed trials rests on one esketamine comparison with an assumed gap of "
    "trials and on sceptical priors; the cohorts themselves cannot show it.",
)
UNKNOWN_RATER = Notice(
    "rater_unknown",
    "Who rates is unknown: the answer is an equal mixture of self-rated and clinician-rated "
    "outcomes, which differ by about one logit; naming the rater narrows it.",
)


def under_way(tables: Sequence[Mapping[str, Any]]) -> Notice:
    """Say what the answer to a course under way is, and what ties the statuses.

    Parameters
    ----------
    tables : sequence of mapping
        The artifact's ``dynamics.tables``.
    """
    patients = sum(sum(table["counts"]) for table in tables)
    return Notice(
        "course_under_way",
        "These are chances among patients with this course so far, under continued treatment. "
        "They are not the effect of going on, and no advice to go on or to stop. How strongly "
        f"statuses are tied rests on {patients} patients in {len(tables)} cohorts.",
    )


def rare_course(effective: float) -> Notice:
    """Say that few draws of the model agree with the course so far."""
    return Notice(
        "rare_course",
        f"The course so far is rare under the model (about {effective:.0f} of its draws are left "
        "in effect), so the ranges are rough.",
    )


def notices(
    inputs: Inputs, support: Mapping[str, Sequence[Any]], plateau: int
) -> tuple[Notice, ...]:
    """Collect what must be said with the answer to these inputs.

    Parameters
    ----------
    inputs : Inputs
        What was asked.
    support : mapping
        The artifact's ``support`` section.
    plateau : int
        Infusions beyond which the model does not change.

    Returns
    -------
    tuple of Notice
        Out-of-evidence inputs first.
    """
    found: list[Notice] = []
    low, high = inputs.failed_trials
    trials_low, trials_high = support["failed_trials"]
    if low < 2:
        found.append(
            Notice(
                "not_treatment_resistant",
                f"Failed trials {_shown(low, high)}: fewer than 2 is not treatment-resistant "
                "depression, and the evidence has no such patients; this is an extrapolation.",
            )
        )
    if high > trials_high or 2 <= low < trials_low:
        found.append(
            Notice(
                "failed_trials_extrapolated",
                f"Failed trials {_shown(low, high)}: the supported range is {trials_low} to "
                f"{trials_high}; beyond it the answer is an extrapolation.",
            )
        )
    first, last = support["infusions"]
    if inputs.infusions > last or inputs.infusions > plateau:
        found.append(
            Notice(
                "infusions_extrapolated",
                f"Infusions {inputs.infusions}: the supported range is {first} to {last}; "
                f"infusions beyond {plateau} are answered as {plateau} (a choice of the "
                "model, after the published finding of no decline).",
            )
        )
    if low < high:
        found.append(
            Notice(
                "failed_trials_range",
                f"Failed trials {_shown(low, high)}: the answer is the equal mixture over the "
                "whole numbers in the range.",
            )
        )
    if inputs.rated_by == "unknown":
        found.append(UNKNOWN_RATER)
    return (*found, ASSUMED_SLOPE, GROUP_LEVEL)


def _shown(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
