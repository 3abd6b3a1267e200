"""What each cohort of the model observed, beside what the model said without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ketacast.clinical.proportions import CONFIDENCE, proportion
from ketacast.evidence import Evidence
from ketacast.evidence.records import Scorer


@dataclass(frozen=True, slots=True)
class CohortRate:
    """One outcome of one cohort.

    Attributes
    ----------
    cohort_id, outcome : str
        Which row of the evidence.
    events, n : int
        Counts.
    infusions : float or None
        Infusions before the rating; None if not reported.
    scorer : str
        "self", "clinician" or "unclear".
    rate, low, high : float
        Observed share with its exact 95 % bounds (Clopper and Pearson 1934).
    predicted_low, predicted_high : float or None
        Share in which the model, fitted without this cohort, expected its count with
        80 % probability; None where it was not left out.
    """

    cohort_id: str
    outcome: str
    events: int
    n: int
    infusions: float | None
    scorer: Scorer
    rate: float
    low: float
    high: float
    predicted_low: float | None = None
    predicted_high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        return asdict(self)


def cohort_rates(
    evidence: Evidence, left_out: Sequence[Mapping[str, Any]] = (), level: float = 0.8
) -> tuple[CohortRate, ...]:
    """Give the primary counts of the model as shares with exact bounds.

    Parameters
    ----------
    evidence : Evidence
        The tables.
    left_out : sequence of mapping, optional
        The ``rows`` of ``validation.json``.
    level : float
        Which of their intervals to take.

    Returns
    -------
    tuple of CohortRate
        In the order of the table.
    """
    expected = {
        (row["cohort_id"], row["outcome"]): (entry["low"] / row["n"], entry["high"] / row["n"])
        for row in left_out
        if row["primary"]
        for entry in row["intervals"]
        if entry["level"] == level
    }
    found = []
    for row in evidence.outcomes:
        if row.model_use != "primary" or row.events is None or not row.n:
            continue
        share = proportion(CONFIDENCE, row.events, row.n)
        bounds = expected.get((row.cohort_id, row.outcome), (None, None))
        found.append(
            CohortRate(
                row.cohort_id, row.outcome, row.events, row.n, row.infusions, row.scorer,
                row.events / row.n, share.low, share.high, *bounds,
            )
        )  # fmt: skip
    return tuple(found)
