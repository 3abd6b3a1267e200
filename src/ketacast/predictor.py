"""From an artifact and a patient's inputs to a :class:`Prediction`.

A point input is looked up in the artifact's table: standard library only. A range
of failed trials, or a level that the table does not hold, is computed from the
posterior draws, from which the table was computed too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from ketacast.clinical.artifact import DIGITS, Artifact, load_artifact
from ketacast.errors import InputError
from ketacast.notices import notices, rare_course, under_way
from ketacast.options import OUTCOMES, RATERS, Outcome, Rater, check_choice
from ketacast.prediction import (
    ClinicId,
    CoursePoint,
    EvidenceBasis,
    Inputs,
    Interval,
    Intervals,
    ModelId,
    OutcomeEstimate,
    Prediction,
)

if TYPE_CHECKING:
    from ketacast.numerics.draws import EqualDraws
    from ketacast.updating.profile import Clinic

Pair: TypeAlias = tuple[OutcomeEstimate, OutcomeEstimate]

DEFAULT_LEVELS: Final = (0.80, 0.95)
LOWEST_LEVEL: Final = 0.01
HIGHEST_LEVEL: Final = 0.99
"""4,096 draws hold 20 in each tail of a 99 % interval; beyond that its ends are noise."""


class Predictor:
    """Predicts from one model.

    Parameters
    ----------
    artifact : Artifact
        From :func:`ketacast.clinical.artifact.load_artifact`.

    Examples
    --------
    >>> predictor = Predictor(load_artifact())
    >>> prediction = predictor.predict(failed_trials=6, infusions=6, rated_by="self")
    >>> prediction.remission.expected <= prediction.response.expected
    True
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        content = artifact.content
        self.model = ModelId(artifact.name, artifact.version, artifact.sha256)
        self.basis = EvidenceBasis(content["evidence"]["cohorts"], content["evidence"]["patients"])
        self._support = content["support"]
        self._plateau = int(content["coding"]["plateau_infusions"])
        self._table_levels = artifact.levels
        self._draws: EqualDraws | None = None
        # Only point inputs at the table's levels are kept: their number is bounded.
        self._pairs: dict[tuple[Any, ...], Pair] = {}
        self._answers: dict[tuple[Any, ...], Prediction] = {}

    def predict(
        self,
        failed_trials: int | Sequence[int],
        infusions: int,
        rated_by: Rater,
        levels: Sequence[float] = DEFAULT_LEVELS,
        *,
        so_far: str = "",
        clinic: Clinic | None = None,
    ) -> Prediction:
        """Predict response and remission.

        Parameters
        ----------
        failed_trials : int or (int, int)
            Adequate failed antidepressant trials of the current episode, 0 to 20,
            or the lowest and highest number they may be.
        infusions : int
            Planned intravenous racemic ketamine infusions, 1 to 30.
        rated_by : {"self", "clinician", "unknown"}
            Who rates the depression scale; there is no default.
        levels : sequence of float
            Interval levels, each from 0.01 to 0.99.
        so_far : str
            With a course under way: a letter for each infusion given, N (no
            response), R (response without remission), M (remission) or ? (not
            known). The answer is then for the infusions to come, given these
            statuses and continued treatment.
        clinic : Clinic, optional
            Profile of a clinic's own results (:func:`ketacast.updating.load_clinic`):
            this clinic is then shown beside a new clinic.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            If an input is of the wrong type or outside its range.
        """
        trials = self._trials(failed_trials)
        number = self._infusions(infusions)
        check_choice("rated_by", rated_by, RATERS)
        asked = checked_levels(levels)
        statuses = _statuses(so_far, number)
        inputs = Inputs(trials, number, rated_by, statuses)
        if statuses:
            return self._midcourse(inputs, asked, clinic)
        if clinic is not None:
            return self._for_clinic(inputs, asked, clinic)
        key = (trials, number, rated_by, asked)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answer(inputs, asked)
            if self._in_table(inputs, asked):
                self._answers[key] = answer
        return answer

    def _in_table(self, inputs: Inputs, levels: tuple[float, ...]) -> bool:
        is_point = inputs.failed_trials[0] == inputs.failed_trials[1]
        return is_point and all(level in self._table_levels for level in levels)

    def _answer(self, inputs: Inputs, levels: tuple[float, ...]) -> Prediction:
        find = self._look_up if self._in_table(inputs, levels) else self._compute
        last = min(inputs.infusions, self._plateau)
        pairs = [find(inputs, infusion, levels) for infusion in range(1, last + 1)]
        course = tuple(
            CoursePoint(infusion, *pairs[min(infusion, last) - 1])
            for infusion in range(1, inputs.infusions + 1)
        )
        return Prediction(
            model=self.model,
            inputs=inputs,
            response=course[-1].response,
            remission=course[-1].remission,
            course=course,
            warnings=notices(inputs, self._support, self._plateau),
            basis=self.basis,
        )

    def _for_clinic(self, inputs: Inputs, levels: tuple[float, ...], clinic: Clinic) -> Prediction:
        from ketacast.updating.answers import answer_for_clinic  # noqa: PLC0415  # if asked for

        plain = self._answer(inputs, levels)
        course = []
        for point in plain.course:
            own = answer_for_clinic(
                self.artifact,
                clinic,
                failed_trials=inputs.failed_trials,
                infusions=point.infusion,
                rated_by=cast("Rater", inputs.rated_by),
                levels=levels,
            )
            course.append(
                CoursePoint(
                    point.infusion,
                    replace(point.response, clinic=own.response),
                    replace(point.remission, clinic=own.remission),
                )
            )
        return replace(
            plain,
            response=course[-1].response,
            remission=course[-1].remission,
            course=tuple(course),
            warnings=(*clinic.notices(), *plain.warnings),
            clinic=_clinic_id(clinic),
        )

    def _midcourse(
        self, inputs: Inputs, levels: tuple[float, ...], clinic: Clinic | None
    ) -> Prediction:
        from ketacast.course_answer import (  # noqa: PLC0415  # NumPy
            FEWEST_DRAWS,
            midcourse,
            with_clinic,
        )

        course, extended, effective = midcourse(self.artifact, inputs, levels)
        if clinic is not None:
            both = with_clinic(self.artifact, clinic, inputs, (*course, *extended), levels)
            course, extended = both[: len(course)], both[len(course) :]
        found = (
            under_way(self.artifact.content["dynamics"]["tables"]),
            *notices(inputs, self._support, self._plateau),
        )
        if effective < FEWEST_DRAWS:
            found = (rare_course(effective), *found)
        if clinic is not None:
            found = (*clinic.notices(), *found)
        return Prediction(
            model=self.model,
            inputs=inputs,
            response=course[-1].response,
            remission=course[-1].remission,
            course=course,
            warnings=found,
            basis=self.basis,
            extended=extended,
            clinic=None if clinic is None else _clinic_id(clinic),
        )

    def _look_up(self, inputs: Inputs, infusion: int, levels: tuple[float, ...]) -> Pair:
        """Both outcomes at one infusion from the table."""
        key = (inputs.failed_trials, infusion, inputs.rated_by, levels)
        pair = self._pairs.get(key)
        if pair is None:
            response, remission = (
                _estimate(self._cell(outcome, inputs, infusion), self._table_levels, levels)
                for outcome in OUTCOMES
            )
            pair = self._pairs[key] = (response, remission)
        return pair

    def _cell(self, outcome: Outcome, inputs: Inputs, infusion: int) -> Sequence[float]:
        table = self.artifact.content["table"]
        row = table["failed_trials"].index(inputs.failed_trials[0])
        rater = table["raters"].index(inputs.rated_by)
        return cast("Sequence[float]", table["values"][outcome][row][infusion - 1][rater])

    def _compute(self, inputs: Inputs, infusion: int, levels: tuple[float, ...]) -> Pair:
        """Both outcomes at one infusion from the draws."""
        from ketacast.clinical.draws import coding_of, load_draws  # noqa: PLC0415  # NumPy
        from ketacast.clinical.rates import components, mixture_rates, summarise  # noqa: PLC0415

        low, high = inputs.failed_trials
        mixture = components(range(low, high + 1), inputs.rated_by)
        if self._draws is None:
            self._draws = load_draws(self.artifact)
        coding = coding_of(self.artifact)
        average, new = mixture_rates(self._draws, coding, mixture, infusion)
        response, remission = (
            [
                round(value, DIGITS)
                for value in summarise(getattr(average, outcome), getattr(new, outcome), levels)
            ]
            for outcome in OUTCOMES
        )
        return _estimate(response, levels, levels), _estimate(remission, levels, levels)

    def _trials(self, value: int | Sequence[int]) -> tuple[int, int]:
        low, high = self._support["failed_trials_answered"]
        if isinstance(value, (list, tuple)):
            if len(value) != 2:
                raise InputError(
                    f"failed_trials is {value!r}; give a number or a pair (lowest, highest)"
                )
            pair = (_whole("failed_trials", value[0]), _whole("failed_trials", value[1]))
        else:
            number = _whole("failed_trials", value)
            pair = (number, number)
        if pair[0] > pair[1]:
            raise InputError(f"failed_trials is {pair}; give the lowest number first")
        if pair[0] < low or pair[1] > high:
            raise InputError(f"failed_trials is {value!r}; give whole numbers from {low} to {high}")
        return pair

    def _infusions(self, value: int) -> int:
        low, high = self._support["infusions_answered"]
        number = _whole("infusions", value)
        if not low <= number <= high:
            raise InputError(f"infusions is {value!r}; give a whole number from {low} to {high}")
        return number


def _clinic_id(clinic: Clinic) -> ClinicId:
    return ClinicId(clinic.label, clinic.sha256, clinic.n, clinic.method)


def _statuses(so_far: object, infusions: int) -> str:
    """Check the statuses so far; spaces and small letters are forgiven."""
    if not isinstance(so_far, str):
        raise InputError(f"so_far is {so_far!r}; give text with a letter per infusion, as 'NNR?'")
    letters = "".join(so_far.split()).upper()
    for place, letter in enumerate(letters, 1):
        if letter not in "NRM?":
            raise InputError(
                f"so_far has {letter!r} for infusion {place}; give N (no response), R (response), "
                "M (remission) or ? (not known)"
            )
    if letters and len(letters) >= infusions:
        raise InputError(
            f"so_far has {len(letters)} infusions of {infusions} planned, so none is to come; "
            "give the number that is planned in all"
        )
    return letters


def _whole(name: str, value: object) -> int:
    """Refuse everything but a whole number; NumPy integers pass by ``__index__``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    kind = type(value).__name__
    if hasattr(value, "__index__") and not kind.startswith("bool"):
        return int(value.__index__())
    raise InputError(f"{name} is {value!r} ({kind}); give a whole number")


@lru_cache(maxsize=64)
def _unique_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    if not levels:
        raise InputError("levels is empty; give at least one, for example 0.8")
    for level in levels:
        good = isinstance(level, (int, float)) and not isinstance(level, bool)
        if not good or not math.isfinite(level) or not LOWEST_LEVEL <= level <= HIGHEST_LEVEL:
            raise InputError(
                f"level {level!r}; give numbers from {LOWEST_LEVEL} to {HIGHEST_LEVEL}, "
                "for example 0.8"
            )
    return tuple(sorted({float(level) for level in levels}))


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Check interval levels and put them in ascending order, each once.

    Raises
    ------
    InputError
        If a level is not a number from 0.01 to 0.99, or none is given.
    """
    try:
        asked = tuple(levels)
        hash(asked)
    except TypeError as error:
        raise InputError(f"levels is {levels!r}; give a list of numbers such as 0.8") from error
    if any(isinstance(level, (bool, str)) for level in asked):  # True hashes as 1, so check first
        raise InputError(f"levels is {levels!r}; give a list of numbers such as 0.8")
    return _unique_levels(asked)


def _estimate(
    cell: Sequence[float], held: tuple[float, ...], levels: tuple[float, ...]
) -> OutcomeEstimate:
    """Pick levels from summaries in the artifact's column order."""

    def pick(first: int) -> Intervals:
        at = [first + 2 * held.index(level) for level in levels]
        return Intervals(levels, tuple(Interval(cell[i], cell[i + 1]) for i in at))

    return OutcomeEstimate(cell[0], cell[1], pick(2), pick(2 + 2 * len(held)))


@lru_cache(maxsize=8)
def load_predictor(model: Path | str | None = None) -> Predictor:
    """Load and verify a model directory; the model of the package by default.

    Raises
    ------
    ArtifactError
        If the model is missing, altered or damaged.
    """
    return Predictor(load_artifact(model))


def predict(
    *,
    failed_trials: int | Sequence[int],
    infusions: int,
    rated_by: Rater,
    levels: Sequence[float] = DEFAULT_LEVELS,
    so_far: str = "",
    clinic: Clinic | None = None,
) -> Prediction:
    """Predict with the model of the package; see :meth:`Predictor.predict`."""
    return load_predictor().predict(
        failed_trials, infusions, rated_by, levels, so_far=so_far, clinic=clinic
    )
