"""What the numbers rest on, made ready once: cohorts, coefficients, figures, later weeks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ketacast.card.figures import figures
from ketacast.card.sources import load_sources

if TYPE_CHECKING:
    from ketacast.clinical.artifact import Artifact
    from ketacast.clinical.cohort_rates import CohortRate
    from ketacast.clinical.durability import Durability
    from ketacast.clinical.durability_parts import DurabilityCurve, Ranges
    from ketacast.evidence.records import Cohort

KINDS: Final = (
    "drug", "route", "overlap", "no_counts", "population", "timing", "criterion", "age",
    "selection",
)  # fmt: skip
"""How a reason for leaving a cohort out begins in the evidence tables."""


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One cohort of the model.

    Attributes
    ----------
    cohort : Cohort
    name : str
        Author and year, or the identifier where the tables have no author.
    response, remission : CohortRate or None
    """

    cohort: Cohort
    name: str
    response: CohortRate | None
    remission: CohortRate | None

    @property
    def either(self) -> CohortRate:
        """One of the two: infusions and rater are the same as far as shown."""
        found = self.response or self.remission
        assert found is not None  # noqa: S101  # a primary cohort has one
        return found


@dataclass(frozen=True, slots=True)
class Later:
    """After the course: the curve, the mean number of weeks, and its basis."""

    curve: DurabilityCurve
    kept: Ranges
    weeks: int
    responders: int
    cohorts: int
    last_seen_week: int


@dataclass(frozen=True, slots=True)
class Basis:
    """Everything on the page that does not depend on the inputs.

    Attributes
    ----------
    rows : tuple of CohortRow
        Cohorts of the model, by year.
    left_out : tuple of (Cohort, str, str)
        The others: name and kind of reason.
    kinds : tuple of (str, int)
        How many for each kind, most first.
    coefficients : sequence of mapping
        From the artifact.
    figures : mapping of str to str
        Numbers of the model card, by name.
    later : Later or None
        None for a model without it.
    """

    rows: tuple[CohortRow, ...]
    left_out: tuple[tuple[Cohort, str, str], ...]
    kinds: tuple[tuple[str, int], ...]
    coefficients: Sequence[Mapping[str, Any]]
    figures: Mapping[str, str]
    later: Later | None


def load_basis(artifact: Artifact) -> Basis:
    """Read the files beside an artifact.

    Raises
    ------
    ArtifactError
        If a file is missing or belongs to another model.
    """
    # SciPy comes with these: the service is ready before it is there.
    from ketacast.clinical.cohort_rates import cohort_rates  # noqa: PLC0415
    from ketacast.clinical.course_parts import load_durability  # noqa: PLC0415

    sources = load_sources(artifact.directory)
    rates = {
        (rate.cohort_id, rate.outcome): rate
        for rate in cohort_rates(sources.evidence, sources.validation["rows"])
    }
    rows, left_out = [], []
    for cohort in sources.evidence.cohorts:
        response = rates.get((cohort.cohort_id, "response"))
        remission = rates.get((cohort.cohort_id, "remission"))
        if response is not None or remission is not None:
            rows.append(CohortRow(cohort, _name(cohort), response, remission))
        else:
            left_out.append((cohort, _name(cohort), _kind(cohort.exclusion_reason)))
    rows.sort(key=lambda row: (row.cohort.year or 0, row.name))
    left_out.sort(key=lambda one: one[1].lower())
    has_later = "durability" in artifact.content
    return Basis(
        rows=tuple(rows),
        left_out=tuple(left_out),
        kinds=tuple(Counter(kind for _, _, kind in left_out).most_common()),
        coefficients=artifact.content["coefficients"],
        figures=figures(sources),
        later=_later(load_durability(artifact)) if has_later else None,
    )


def _later(durability: Durability) -> Later:
    weeks = durability.horizon_weeks
    return Later(
        curve=durability.curve(),
        kept=durability.weeks_in_response(),
        weeks=weeks,
        responders=sum(row.at_risk for row in durability.rows if not row.start_days),
        cohorts=len({row.family for row in durability.rows}),
        last_seen_week=round(max(row.end_days for row in durability.rows) / 7),
    )


def _name(cohort: Cohort) -> str:
    if not cohort.first_author:
        return cohort.cohort_id
    return f"{cohort.first_author} {cohort.year}" if cohort.year else cohort.first_author


def _kind(reason: str) -> str:
    kind = reason.partition(":")[0].strip()
    return kind if kind in KINDS else "other"
