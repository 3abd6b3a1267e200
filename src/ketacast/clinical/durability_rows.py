"""Rows of ``relapse.csv`` as counts: responders at one time, lost by a later one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ketacast.clinical.durability_rules import ArmIds
from ketacast.errors import RecipeError
from ketacast.evidence import Evidence, Relapse


@dataclass(frozen=True, slots=True)
class LostRow:
    """Responders of one cohort who lost the response in an interval.

    Attributes
    ----------
    row_id, cohort_id, family : str
        Where the counts come from.
    start_days, end_days : float
        Days since the last dose.
    at_risk, lost : int
        Responders at the start, and those lost by the end.
    basis : str
        How the counts were obtained, in words.
    source_url : str
        Where the figures were read.
    """

    row_id: str
    cohort_id: str
    family: str
    start_days: float
    end_days: float
    at_risk: int
    lost: int
    basis: str
    source_url: str

    def __str__(self) -> str:
        """One line that names the study and its counts."""
        since = f" after day {self.start_days:g}" if self.start_days else ""
        return (
            f"{self.cohort_id}: {self.lost} of {self.at_risk} lost{since} by day "
            f"{self.end_days:g} ({self.basis})"
        )


def lost_rows(
    evidence: Evidence, row_ids: Iterable[str], assumed_n: Mapping[str, int]
) -> tuple[LostRow, ...]:
    """Turn rows of ``relapse.csv`` into counts of lost responses.

    Parameters
    ----------
    evidence : Evidence
        The evidence tables.
    row_ids : iterable of str
        Rows to use. Rows of one cohort are read as one follow-up in time.
    assumed_n : mapping of str to int
        Patients behind rows that print a percentage alone.

    Returns
    -------
    tuple of LostRow
        In the order given, rows of one cohort by time.

    Raises
    ------
    RecipeError
        For an unknown or repeated row, one that is not intravenous racemic
        ketamine, one without the figures needed, and follow-up that gains
        responders.
    """
    names = list(row_ids)
    if len(set(names)) < len(names):
        raise RecipeError(f"[durability] rows {names} repeat one; name each once")
    unused = sorted(set(assumed_n) - set(names))
    if unused:
        raise RecipeError(
            f"[durability] assumed_n names {unused[0]!r}, which is not among the rows"
        )
    found = [_counted(_row(evidence, name), assumed_n.get(name)) for name in names]
    result: list[LostRow] = []
    for cohort in dict.fromkeys(row.cohort_id for row in found):
        result += _chained([row for row in found if row.cohort_id == cohort])
    return tuple(result)


def arm_counts(evidence: Evidence, ids: ArmIds) -> tuple[tuple[int, int], tuple[int, int]]:
    """Losses and patients of the treated and the control arm.

    Returns
    -------
    lost, at_risk : tuple of int
        (treated, control) each.

    Raises
    ------
    RecipeError
        For an unknown row or one that is not a count of relapses.
    """
    arms = [_row(evidence, ids.treated), _row(evidence, ids.control)]
    counts = []
    for arm in arms:
        if arm.measure != "count" or arm.outcome != "relapse" or arm.events is None or not arm.n:
            raise RecipeError(
                f"relapse.csv {arm.row_id}: a count of relapses is needed; name another"
            )
        counts.append((arm.events, arm.n))
    return (counts[0][0], counts[1][0]), (counts[0][1], counts[1][1])


def _row(evidence: Evidence, row_id: str) -> Relapse:
    for row in evidence.relapse:
        if row.row_id == row_id:
            return row
    raise RecipeError(f"relapse.csv has no row {row_id!r}; name one of its row_id")


def _counted(row: Relapse, assumed_n: int | None) -> LostRow:
    if row.drug != "racemic_ketamine" or row.route != "iv":
        raise RecipeError(
            f"relapse.csv {row.row_id} is {row.drug} {row.route}; time in response rests on "
            "intravenous racemic ketamine: drop the row"
        )
    if assumed_n is not None and row.n is not None:
        raise RecipeError(f"relapse.csv {row.row_id} prints n = {row.n}; drop its assumed_n")
    end, n, lost, basis = _figures(row, assumed_n)
    return LostRow(row.row_id, row.cohort_id, row.family, 0.0, end, n, lost, basis, row.source_url)


def _figures(row: Relapse, assumed_n: int | None) -> tuple[float, int, int, str]:
    """End of follow-up, responders at risk, lost, and how they were obtained."""
    relapsed = row.outcome == "relapse"
    if row.measure == "median_time" and row.median_days and row.n:
        # By its median at least half are lost: 9 of 17.
        return row.median_days, row.n, math.ceil(row.n / 2), "half, from the printed median"
    days = row.days_since_last_dose
    if row.measure == "count" and days and row.n and row.events is not None:
        lost = row.events if relapsed else row.n - row.events
        basis = "counts" if row.events_basis == "reported" else "counts rebuilt from the text"
        return days, row.n, lost, basis
    if row.measure == "km_probability" and days and row.pct_reported is not None:
        if assumed_n is None:
            raise RecipeError(
                f"relapse.csv {row.row_id} prints no number of patients; give one in assumed_n"
            )
        share = row.pct_reported / 100.0
        lost = round(assumed_n * (share if relapsed else 1.0 - share))
        return days, assumed_n, lost, f"Kaplan-Meier {row.pct_reported:g} %, n assumed"
    raise RecipeError(
        f"relapse.csv {row.row_id} ({row.measure}) lacks the counts, or the time, that a "
        "likelihood needs; drop the row"
    )


def _chained(rows: list[LostRow]) -> list[LostRow]:
    """Cumulative losses of one cohort as losses between its successive times."""
    result: list[LostRow] = []
    day, kept, gone = 0.0, rows[0].at_risk, 0
    for row in sorted(rows, key=lambda one: one.end_days):
        if row.at_risk != rows[0].at_risk or row.lost < gone or row.end_days == day:
            raise RecipeError(
                f"relapse.csv {row.row_id}: rows of {row.cohort_id} must share n and lose more "
                "with time; drop one"
            )
        result.append(
            LostRow(
                row.row_id,
                row.cohort_id,
                row.family,
                day,
                row.end_days,
                kept,
                row.lost - gone,
                row.basis,
                row.source_url,
            )
        )
        day, kept, gone = row.end_days, row.at_risk - row.lost, row.lost
    return [row for row in result if row.at_risk > 0]
