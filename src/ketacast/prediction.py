"""What a prediction is: frozen values that every channel formats, none computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Interval(NamedTuple):
    """Lower and upper bound of a probability."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals(Mapping[float, Interval]):
    """Intervals by level: ``intervals[0.8].low``."""

    levels: tuple[float, ...]
    bounds: tuple[Interval, ...]

    def __getitem__(self, level: float) -> Interval:
        try:
            return self.bounds[self.levels.index(level)]
        except ValueError:
            raise KeyError(level) from None

    def __iter__(self) -> Iterator[float]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)

    def to_dict(self) -> dict[str, list[float]]:
        """Levels as text, bounds as lists."""
        pairs = zip(self.levels, self.bounds, strict=True)
        return {f"{level:g}": list(bounds) for level, bounds in pairs}


@dataclass(frozen=True, slots=True)
class ClinicEstimate:
    """Chance of one outcome in this clinic, after its own results.

    Attributes
    ----------
    expected, median : float
        Mean and median over what this clinic's rate may be.
    this_clinic : Intervals
        Intervals of the clinic's rate.
    """

    expected: float
    median: float
    this_clinic: Intervals

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return {
            "expected": self.expected,
            "median": self.median,
            "this_clinic": self.this_clinic.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class OutcomeEstimate:
    """Chance of one outcome.

    Attributes
    ----------
    expected : float
        Mean over new clinics.
    median : float
        Median over new clinics.
    average_clinic : Intervals
        Credible intervals of the rate in a clinic with zero random effects.
    new_clinic : Intervals
        Prediction intervals of the rate in a clinic not yet seen; at 80 % the
        "likely range".
    clinic : ClinicEstimate or None
        The same for this clinic, where its own results were given.
    """

    expected: float
    median: float
    average_clinic: Intervals
    new_clinic: Intervals
    clinic: ClinicEstimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        found = {
            "expected": self.expected,
            "median": self.median,
            "average_clinic": self.average_clinic.to_dict(),
            "new_clinic": self.new_clinic.to_dict(),
        }
        return found if self.clinic is None else {**found, "clinic": self.clinic.to_dict()}


@dataclass(frozen=True, slots=True)
class CoursePoint:
    """Chances after one infusion of the course."""

    infusion: int
    response: OutcomeEstimate
    remission: OutcomeEstimate

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return {
            "infusion": self.infusion,
            "response": self.response.to_dict(),
            "remission": self.remission.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Notice:
    """A limit that goes with the numbers; ``code`` is stable, ``message`` is for people."""

    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Plain dictionary, as in the JSON answer."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was asked.

    Attributes
    ----------
    failed_trials : (int, int)
        Lowest and highest number.
    infusions : int
        Planned.
    rated_by : str
        Who rates.
    so_far : str
        A letter for each infusion given: N, R, M or ?; empty before the first.
    """

    failed_trials: tuple[int, int]
    infusions: int
    rated_by: str
    so_far: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        low, high = self.failed_trials
        found: dict[str, Any] = {
            "failed_trials": {"min": low, "max": high},
            "infusions": self.infusions,
            "rated_by": self.rated_by,
        }
        return {**found, "so_far": self.so_far} if self.so_far else found


@dataclass(frozen=True, slots=True)
class ClinicId:
    """Whose own results entered, and how.

    Attributes
    ----------
    label : str
        Free text of the profile.
    sha256 : str
        Digest of the profile.
    n : int
        Patients counted.
    method : str
        "new clinic" (no counts), "reweighted" or "refitted".
    """

    label: str
    sha256: str
    n: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return {
            "label": self.label, "sha256": self.sha256, "n": self.n, "method": self.method,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which model answered."""

    name: str
    version: str
    sha256: str

    def to_dict(self) -> dict[str, str]:
        """Plain dictionary, as in the JSON answer."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class EvidenceBasis:
    """What the numbers rest on: cohorts (families) and patients."""

    cohorts: int
    patients: int

    def to_dict(self) -> dict[str, int]:
        """Plain dictionary, as in the JSON answer."""
        return {"cohorts": self.cohorts, "patients": self.patients}


@dataclass(frozen=True, slots=True)
class Prediction:
    """Chances of response and remission with their ranges, limits and basis.

    Attributes
    ----------
    model : ModelId
        Which model answered.
    inputs : Inputs
        What was asked.
    response, remission : OutcomeEstimate
        Chances at the end of the course.
    course : tuple of CoursePoint
        The same after each infusion to come, to the planned number.
    warnings : tuple of Notice
        Limits that go with the numbers, in order of weight.
    basis : EvidenceBasis
        Cohorts and patients behind the numbers.
    extended : tuple of CoursePoint
        With a course under way: the chances if it were extended beyond the plan.
    clinic : ClinicId or None
        Whose own results entered.
    """

    model: ModelId
    inputs: Inputs
    response: OutcomeEstimate
    remission: OutcomeEstimate
    course: tuple[CoursePoint, ...]
    warnings: tuple[Notice, ...]
    basis: EvidenceBasis
    extended: tuple[CoursePoint, ...] = ()
    clinic: ClinicId | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON answer: keys may be added later, never renamed."""
        found: dict[str, Any] = {
            "model": self.model.to_dict(),
            "inputs": self.inputs.to_dict(),
            "response": self.response.to_dict(),
            "remission": self.remission.to_dict(),
            "course": [point.to_dict() for point in self.course],
            "warnings": [notice.to_dict() for notice in self.warnings],
            "basis": self.basis.to_dict(),
        }
        if self.inputs.so_far:
            found["extended"] = [point.to_dict() for point in self.extended]
        if self.clinic is not None:
            found["clinic"] = self.clinic.to_dict()
        return found

    def __str__(self) -> str:
        from ketacast.prediction_text import prediction_lines  # noqa: PLC0415  # text on demand

        return "\n".join(prediction_lines(self))

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415  # notebooks only

        return f"<pre>{escape(str(self))}</pre>"
