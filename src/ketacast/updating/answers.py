"""From a profile and a patient's inputs to this clinic's chances.

A point input at the table's levels is looked up: standard library only. Anything
else is computed from the profile's draws, from which the table was computed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ketacast.clinical.artifact import DIGITS, Artifact
from ketacast.options import OUTCOMES, RATERS, Rater, check_choice
from ketacast.prediction import ClinicEstimate, Interval, Intervals
from ketacast.updating.profile import Clinic


@dataclass(frozen=True, slots=True)
class ClinicAnswer:
    """Chances of response and remission in this clinic."""

    response: ClinicEstimate
    remission: ClinicEstimate

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return {"response": self.response.to_dict(), "remission": self.remission.to_dict()}


def answer_for_clinic(
    artifact: Artifact,
    clinic: Clinic,
    *,
    failed_trials: tuple[int, int],
    infusions: int,
    rated_by: Rater,
    levels: Sequence[float],
) -> ClinicAnswer:
    """Predict response and remission in this clinic.

    Parameters
    ----------
    artifact : Artifact
        The model the profile belongs to.
    clinic : Clinic
        The profile.
    failed_trials : (int, int)
        Lowest and highest number; an equal mixture over the whole numbers between.
    infusions : int
        Planned infusions; beyond the plateau as the plateau.
    rated_by : {"self", "clinician", "unknown"}
        Who rates; unknown pools both.
    levels : sequence of float
        Interval levels in (0, 1), checked by the caller.

    Returns
    -------
    ClinicAnswer
        Without counts exactly the model's new-clinic answer.

    Raises
    ------
    ArtifactError
        If the profile belongs to another model or is damaged.
    InputError
        If the rater is not known.
    """
    clinic.check_model(artifact)
    check_choice("rated_by", rated_by, RATERS)
    asked = tuple(levels)
    table = clinic.content["table"]
    number = min(infusions, table["infusions"][-1])
    low, high = failed_trials
    held = clinic.levels
    if low == high and low in table["failed_trials"] and all(level in held for level in asked):
        row, rater = table["failed_trials"].index(low), RATERS.index(rated_by)
        place = table["infusions"].index(number)
        found = [table["values"][outcome][row][place][rater] for outcome in OUTCOMES]
        return ClinicAnswer(*(_estimate(cell, held, asked) for cell in found))
    from ketacast.clinical.rates import components  # noqa: PLC0415  # NumPy

    mixture = components(range(low, high + 1), rated_by)
    found = _computed(artifact, clinic, mixture, number, asked)
    return ClinicAnswer(*(_estimate(cell, asked, asked) for cell in found))


def _computed(
    artifact: Artifact,
    clinic: Clinic,
    mixture: Sequence[tuple[int, str]],
    infusions: int,
    levels: tuple[float, ...],
) -> list[list[float]]:
    from ketacast.clinical.draws import coding_of  # noqa: PLC0415  # NumPy
    from ketacast.clinical.rates import mixture_rates, summarise  # noqa: PLC0415
    from ketacast.updating.stored import clinic_draws  # noqa: PLC0415
    from ketacast.updating.summaries import pooled, summaries  # noqa: PLC0415

    known, coding = clinic_draws(artifact, clinic), coding_of(artifact)
    if clinic.content["draws"] is None:
        average, new = mixture_rates(known.draws, coding, mixture, infusions)
        first = 2 + 2 * len(levels)
        full = [
            summarise(getattr(average, outcome), getattr(new, outcome), levels)
            for outcome in OUTCOMES
        ]
        return [[round(v, DIGITS) for v in (*cell[:2], *cell[first:])] for cell in full]
    rates, weight = pooled(known.draws, known.weight, coding, mixture, infusions)
    return [summaries(getattr(rates, outcome), weight, levels) for outcome in OUTCOMES]


def _estimate(
    cell: Sequence[float], held: tuple[float, ...], levels: tuple[float, ...]
) -> ClinicEstimate:
    """Pick levels from summaries in the table's column order."""
    at = [2 + 2 * held.index(level) for level in levels]
    bounds = tuple(Interval(cell[i], cell[i + 1]) for i in at)
    return ClinicEstimate(cell[0], cell[1], Intervals(levels, bounds))
