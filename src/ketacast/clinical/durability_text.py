"""What curves of time in response rest on and cannot say, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ketacast.clinical.durability_rows import LostRow
from ketacast.clinical.durability_rules import Stratum

INTERVAL_REFUSAL: Final = (
    "interval_weeks is {} and interval_multiplier {}; nothing in the evidence tells maintenance "
    "intervals apart: give both, the multiplier of the hazard being your own assumption, or neither"
)
REMISSION_REFUSAL: Final = (
    "remission_share is None; no source in the evidence says how long responders stay in "
    "remission: give your own share of those still in response who are in remission, 0 to 1, "
    "or ask for weeks_in_response"
)
_STRATUM: Final = {
    "responders": "in stable response without remission",
    "remitters": "in stable remission",
}


def limits_of(rows: Sequence[LostRow], *, maintained: bool) -> tuple[str, ...]:
    """Say what a curve cannot say.

    Parameters
    ----------
    rows : sequence of LostRow
        The counts behind it.
    maintained : bool
        Whether it is a curve with maintenance.
    """
    # Later intervals of one cohort hold the same patients again.
    patients = sum(row.at_risk for row in rows if row.start_days == 0.0)
    cohorts = len({row.cohort_id for row in rows})
    rebuilt = sum("median" in row.basis for row in rows)
    first = min(row.end_days for row in rows)
    last = max(row.end_days for row in rows)
    limits = [
        (
            f"very little data: {patients} responders in {cohorts} cohorts, so that the priors "
            f"weigh heavily; {rebuilt} of {len(rows)} rows are rebuilt from printed medians"
        ),
        (
            "what counts as a lost response, the treatment beside ketamine and the length of "
            "follow-up differ between the studies; drop-outs are not known"
        ),
        (
            f"the curve before day {first:g} and beyond day {last:g} is the Weibull's shape, which "
            "is taken to be the same in every clinic"
        ),
        "it describes groups of responders, not one person, and is uncontrolled",
    ]
    if maintained:
        limits.append(
            "the effect of maintenance is transported: nasal esketamine with an oral "
            "antidepressant, in patients stable after 16 weeks of it, against withdrawal to "
            "placebo; that it holds for racemic infusions, and from the last infusion of a "
            "course on, is an assumption"
        )
        limits.append(
            "the hazard ratio is taken from relapse counts as if both arms had been followed "
            "alike; whom maintenance would be given to is not modelled"
        )
    return tuple(limits)


def maintenance_study(
    stratum: Stratum,
    lost: tuple[int, int],
    at_risk: tuple[int, int],
    ratio: tuple[float, float, float],
) -> str:
    """One line that names the trial behind the hazard ratio."""
    return (
        f"SUSTAIN-1 (esketamine, transported), patients {_STRATUM[stratum]}: relapse "
        f"{lost[0]} of {at_risk[0]} with, {lost[1]} of {at_risk[1]} without maintenance; hazard "
        f"ratio {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
    )


def interval_assumption(weeks: float, multiplier: float) -> str:
    """State the user's assumption about the maintenance interval."""
    return (
        f"the user's assumption, not the model's: under maintenance every {weeks:g} weeks the "
        f"hazard of losing the response is {multiplier:g} times that of the trial's schedule"
    )
