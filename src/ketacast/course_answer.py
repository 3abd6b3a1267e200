"""A course under way: chances after each infusion to come, from the draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.artifact import DIGITS, Artifact
from ketacast.clinical.course_parts import PROPENSITY
from ketacast.clinical.draws import coding_of, load_beside, load_draws
from ketacast.clinical.midcourse import (
    MidcourseRates,
    midcourse_rates,
    pooled_chances,
    weighted_quantiles,
)
from ketacast.clinical.rates import components
from ketacast.errors import InputError
from ketacast.options import OUTCOMES
from ketacast.prediction import (
    ClinicEstimate,
    CoursePoint,
    Inputs,
    Interval,
    Intervals,
    OutcomeEstimate,
)
from ketacast.updating.profile import Clinic
from ketacast.updating.stored import clinic_draws

Float = NDArray[np.float64]

#: Draws that must be left, in effect, for ranges to be more than noise.
FEWEST_DRAWS: Final = 400.0


def propensity_of(artifact: Artifact) -> Float:
    """Read each draw's w.

    Raises
    ------
    InputError
        If the model was built without course dynamics.
    """
    if "dynamics" not in artifact.content:
        raise InputError(
            f"the model {artifact.name} {artifact.version} has no course dynamics, so so_far "
            "cannot be answered; add a [dynamics] section to its recipe and fit again"
        )
    return load_beside(artifact)[PROPENSITY]


def midcourse(
    artifact: Artifact, inputs: Inputs, levels: Sequence[float]
) -> tuple[tuple[CoursePoint, ...], tuple[CoursePoint, ...], float]:
    """Condition the model on the statuses so far.

    Parameters
    ----------
    artifact : Artifact
        The model.
    inputs : Inputs
        With at least one status, and fewer than the planned infusions.
    levels : sequence of float
        Interval levels.

    Returns
    -------
    course, extended : tuple of CoursePoint
        Chances after each infusion to come, to the plan's end and beyond it.
    effective : float
        Effective number of the new clinic's draws, relative to one component.
    """
    low, high = inputs.failed_trials
    mixture = components(range(low, high + 1), inputs.rated_by)
    rates = midcourse_rates(
        load_draws(artifact),
        propensity_of(artifact),
        coding_of(artifact),
        mixture=mixture,
        history=inputs.so_far,
        planned=inputs.infusions,
        levels=levels,
    )
    course = tuple(_point(rates, infusion, levels) for infusion in rates.remaining)
    extended = tuple(_point(rates, infusion, levels) for infusion in rates.extended)
    return course, extended, min(rates.average_effective, rates.new_effective / len(mixture))


def with_clinic(
    artifact: Artifact,
    clinic: Clinic,
    inputs: Inputs,
    points: Sequence[CoursePoint],
    levels: Sequence[float],
) -> tuple[CoursePoint, ...]:
    """Put this clinic's chances beside those of a new clinic, infusion by infusion.

    Parameters
    ----------
    artifact : Artifact
        The model.
    clinic : Clinic
        Profile of the clinic; without counts it answers like the new clinic.
    inputs : Inputs
        With at least one status.
    points : sequence of CoursePoint
        The answer so far.
    levels : sequence of float
        Interval levels.

    Raises
    ------
    ArtifactError
        If the profile belongs to another model or is damaged.
    InputError
        If this clinic's results rule the course so far out.
    """
    clinic.check_model(artifact)
    if clinic.method == "new clinic":
        return tuple(
            replace(
                point,
                response=_as_new(point.response),
                remission=_as_new(point.remission),
            )
            for point in points
        )
    known = clinic_draws(artifact, clinic)
    low, high = inputs.failed_trials
    rates, weight = pooled_chances(
        known.draws,
        known.weight,
        propensity_of(artifact),
        coding_of(artifact),
        mixture=components(range(low, high + 1), inputs.rated_by),
        history=inputs.so_far,
    )
    if not weight.any():
        raise InputError(
            f"so_far {inputs.so_far!r} has probability 0 in this clinic; check the letters"
        )
    last = rates.response.shape[1] - 1
    found = []
    for point in points:
        place = min(point.infusion - len(inputs.so_far) - 1, last)
        pair = (
            replace(
                getattr(point, outcome),
                clinic=_this(getattr(rates, outcome)[:, place], weight, levels),
            )
            for outcome in OUTCOMES
        )
        found.append(CoursePoint(point.infusion, *pair))
    return tuple(found)


def _as_new(estimate: OutcomeEstimate) -> OutcomeEstimate:
    own = ClinicEstimate(estimate.expected, estimate.median, estimate.new_clinic)
    return replace(estimate, clinic=own)


def _this(values: Float, weight: Float, levels: Sequence[float]) -> ClinicEstimate:
    sides = [side for level in levels for side in ((1 - level) / 2, (1 + level) / 2)]
    found = weighted_quantiles(values, weight, np.array([0.5, *sides]))
    median, *bounds = (round(value, DIGITS) for value in found.tolist())
    pairs = tuple(Interval(bounds[i], bounds[i + 1]) for i in range(0, len(bounds), 2))
    expected = round(float(np.average(values, weights=weight)), DIGITS)
    return ClinicEstimate(expected, median, Intervals(tuple(levels), pairs))


def _point(rates: MidcourseRates, infusion: int, levels: Sequence[float]) -> CoursePoint:
    response, remission = rates.at(infusion)
    return CoursePoint(infusion, _estimate(response, levels), _estimate(remission, levels))


def _estimate(cell: Sequence[float], levels: Sequence[float]) -> OutcomeEstimate:
    values = [round(value, DIGITS) for value in cell]
    held = tuple(levels)
    bounds = [Interval(values[i], values[i + 1]) for i in range(2, len(values), 2)]
    count = len(held)
    return OutcomeEstimate(
        values[0],
        values[1],
        Intervals(held, tuple(bounds[:count])),
        Intervals(held, tuple(bounds[count:])),
    )
