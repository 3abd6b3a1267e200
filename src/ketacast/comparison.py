"""Two plans for the same patients: the difference of their rates, draw by draw.

Both plans are computed from the same draws and, in a clinic, with the same effects of
that clinic, so that what the plans share cancels. What is left is an association
between groups that had shorter or longer courses, not the effect of choosing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ketacast.errors import InputError
from ketacast.options import OUTCOMES, Rater
from ketacast.prediction import ClinicEstimate, Interval, Intervals, Notice, Prediction
from ketacast.predictor import DEFAULT_LEVELS, Predictor, checked_levels, load_predictor

if TYPE_CHECKING:
    from ketacast.updating.profile import Clinic

ASSOCIATION: Final = Notice(
    "association_between_groups",
    "The difference is an association between groups that had shorter or longer courses, not "
    "the effect of choosing a plan: patients who do not improve often stop early.",
)


@dataclass(frozen=True, slots=True)
class RateDifference:
    """How much more of one outcome the second plan has than the first.

    Attributes
    ----------
    expected, median : float
        Mean and median over new clinics; from -1 to 1.
    average_clinic : Intervals
        Intervals of the difference in a clinic with zero random effects.
    new_clinic : Intervals
        Intervals of the difference in a clinic not yet seen.
    clinic : ClinicEstimate or None
        The same for this clinic, where its own results were given.
    """

    expected: float
    median: float
    average_clinic: Intervals
    new_clinic: Intervals
    clinic: ClinicEstimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in a JSON answer."""
        found = {
            "expected": self.expected,
            "median": self.median,
            "average_clinic": self.average_clinic.to_dict(),
            "new_clinic": self.new_clinic.to_dict(),
        }
        return found if self.clinic is None else {**found, "clinic": self.clinic.to_dict()}


@dataclass(frozen=True, slots=True)
class PlanComparison:
    """Two predictions that differ in the number of infusions, and the difference.

    Attributes
    ----------
    first, second : Prediction
        The plans.
    response, remission : RateDifference
        Second minus first.
    notice : Notice
        What the difference is not.
    """

    first: Prediction
    second: Prediction
    response: RateDifference
    remission: RateDifference
    notice: Notice = ASSOCIATION

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in a JSON answer."""
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "difference": {
                "response": self.response.to_dict(),
                "remission": self.remission.to_dict(),
            },
            "notice": self.notice.to_dict(),
        }

    def __str__(self) -> str:
        plans = [plan.inputs.infusions for plan in (self.first, self.second)]
        lines = [f"{plans[1]} infusions compared with {plans[0]}, more of 100 patients"]
        for outcome in OUTCOMES:
            found: RateDifference = getattr(self, outcome)
            level = min(found.new_clinic)
            low, high = found.new_clinic[level]
            lines.append(
                f"  {outcome:<10}{100 * found.expected:+5.0f}   ({100 * level:.4g} % range of a "
                f"new clinic {100 * low:+.0f} to {100 * high:+.0f})"
            )
        return "\n".join([*lines, self.notice.message])


def compare_plans(
    *,
    failed_trials: int | Sequence[int],
    infusions: Sequence[int],
    rated_by: Rater,
    levels: Sequence[float] = DEFAULT_LEVELS,
    clinic: Clinic | None = None,
    predictor: Predictor | None = None,
) -> PlanComparison:
    """Compare two planned numbers of infusions, in the same draws.

    Parameters
    ----------
    failed_trials, rated_by, levels, clinic
        As for :func:`ketacast.predict`, the same for both plans.
    infusions : (int, int)
        The two plans; they must differ.
    predictor : Predictor, optional
        The model; that of the package by default.

    Returns
    -------
    PlanComparison

    Raises
    ------
    InputError
        If an input is of the wrong type or outside its range, or the plans are one.

    Examples
    --------
    >>> found = compare_plans(failed_trials=6, infusions=(4, 8), rated_by="self")
    >>> found.response.new_clinic[0.8].low < found.response.expected
    True
    """
    model = load_predictor() if predictor is None else predictor
    plans = _plans(infusions)
    asked = checked_levels(levels)
    first, second = (
        model.predict(failed_trials, plan, rated_by, asked, clinic=clinic) for plan in plans
    )
    response, remission = _differences(model, first, second, asked, clinic)
    return PlanComparison(first, second, response, remission)


def _plans(infusions: object) -> tuple[int, int]:
    if not isinstance(infusions, list | tuple) or len(infusions) != 2:
        raise InputError(f"infusions is {infusions!r}; give a pair of numbers, as (4, 8)")
    if infusions[0] == infusions[1]:
        raise InputError(f"infusions is {infusions!r}; give two plans that differ")
    return infusions[0], infusions[1]


def _differences(
    predictor: Predictor,
    first: Prediction,
    second: Prediction,
    levels: tuple[float, ...],
    clinic: Clinic | None,
) -> tuple[RateDifference, RateDifference]:
    from ketacast.clinical.artifact import DIGITS  # noqa: PLC0415  # NumPy
    from ketacast.clinical.draws import coding_of, load_draws  # noqa: PLC0415
    from ketacast.clinical.rates import components, mixture_rates, summarise  # noqa: PLC0415

    artifact = predictor.artifact
    draws, coding = load_draws(artifact), coding_of(artifact)
    low, high = first.inputs.failed_trials
    mixture = components(range(low, high + 1), first.inputs.rated_by)
    pairs = [
        mixture_rates(draws, coding, mixture, plan.inputs.infusions) for plan in (first, second)
    ]
    found = []
    for outcome in OUTCOMES:
        average, new = (
            getattr(later, outcome) - getattr(earlier, outcome)
            for earlier, later in zip(*pairs, strict=True)
        )
        cells = [round(value, DIGITS) for value in summarise(average, new, levels)]
        bounds = [Interval(cells[i], cells[i + 1]) for i in range(2, len(cells), 2)]
        count = len(levels)
        found.append(
            RateDifference(
                cells[0],
                cells[1],
                Intervals(levels, tuple(bounds[:count])),
                Intervals(levels, tuple(bounds[count:])),
                None if clinic is None else _own(predictor, clinic, (first, second), outcome),
            )
        )
    return found[0], found[1]


def _own(
    predictor: Predictor, clinic: Clinic, plans: tuple[Prediction, Prediction], outcome: str
) -> ClinicEstimate:
    """Summarise the difference in this clinic, in its own draws."""
    from ketacast.clinical.draws import coding_of  # noqa: PLC0415  # NumPy
    from ketacast.clinical.rates import components  # noqa: PLC0415
    from ketacast.updating.stored import clinic_draws  # noqa: PLC0415
    from ketacast.updating.summaries import pooled, summaries  # noqa: PLC0415

    inputs = plans[0].inputs
    low, high = inputs.failed_trials
    mixture = components(range(low, high + 1), inputs.rated_by)
    known, coding = clinic_draws(predictor.artifact, clinic), coding_of(predictor.artifact)
    (earlier, weight), (later, _) = (
        pooled(known.draws, known.weight, coding, mixture, plan.inputs.infusions) for plan in plans
    )
    levels = plans[0].response.new_clinic.levels
    cells = summaries(getattr(later, outcome) - getattr(earlier, outcome), weight, levels)
    bounds = tuple(Interval(cells[i], cells[i + 1]) for i in range(2, len(cells), 2))
    return ClinicEstimate(cells[0], cells[1], Intervals(levels, bounds))
