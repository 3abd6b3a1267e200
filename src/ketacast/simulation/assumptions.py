"""What a result rests on beside the evidence, in words: the user's own numbers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ketacast.clinical.artifact import Artifact
from ketacast.notices import ASSUMED_SLOPE, GROUP_LEVEL, notices
from ketacast.prediction import Inputs
from ketacast.simulation.specification import AVERAGE, NEW, Specification
from ketacast.simulation.strategies import Strategy

ROUGH_BELOW: Final = 50
"""Draws below which a range is hardly one: its ends are single draws."""


_TOO_FEW: Final = (
    "fewer than 2 is not treatment-resistant depression, and the evidence has no such patients; "
    "this is an extrapolation"
)


@dataclass(frozen=True, slots=True)
class Support:
    """What the model's evidence supports, as its predictions know it.

    Attributes
    ----------
    failed_trials, infusions : (int, int)
        Lowest and highest.
    plateau : int
        Infusions beyond which the model does not change.
    """

    failed_trials: tuple[int, int]
    infusions: tuple[int, int]
    plateau: int

    @classmethod
    def of(cls, artifact: Artifact) -> Support:
        """Take over a model's."""
        support = artifact.content["support"]
        plateau = int(artifact.content["coding"]["plateau_infusions"])
        return cls.read({**support, "plateau": plateau})

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Support:
        """Read what :meth:`to_dict` gave."""
        (least, most), (first, last) = content["failed_trials"], content["infusions"]
        return cls((int(least), int(most)), (int(first), int(last)), int(content["plateau"]))

    def to_dict(self) -> dict[str, Any]:
        """Return lists and numbers."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def beyond(self, failed_trials: int, infusions: int, rated_by: str) -> frozenset[str]:
        """Codes with which a prediction flags these inputs."""
        inputs = Inputs((failed_trials, failed_trials), infusions, rated_by)
        support = {"failed_trials": self.failed_trials, "infusions": self.infusions}
        return frozenset(one.code for one in notices(inputs, support, self.plateau))


@dataclass(frozen=True, slots=True)
class Basis:
    """What a result rests on.

    Attributes
    ----------
    assumed : tuple of str
        Numbers that the user gave; nothing in the evidence says them.
    carried_over : tuple of str
        Numbers that come from other treatments or patients.
    limits : tuple of str
        What the simulation cannot say.
    """

    assumed: tuple[str, ...]
    carried_over: tuple[str, ...]
    limits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return lists of text."""
        return {name: list(getattr(self, name)) for name in self.__slots__}


def basis_of(specification: Specification, support: Support | None) -> Basis:
    """List what a specification's results rest on, extrapolations first among the limits."""
    assumed = [_cohort(specification)]
    for strategy in specification.strategies:
        assumed += _of_strategy(strategy)
    assumed += _of_run(specification)
    limits = [*_extrapolated(specification, support), *_limits(specification)]
    return Basis(tuple(assumed), tuple(_carried(specification)), tuple(limits))


def _cohort(specification: Specification) -> str:
    kind = "counts" if specification.cohort.counted else "shares"
    return (
        f"cohort: {specification.patients:,} patients in {len(specification.cohort.groups)} "
        f"group(s), by your {kind} of failed trials, rater and clinic"
    )


def _of_strategy(strategy: Strategy) -> list[str]:
    found = []
    kept, again = strategy.maintenance, strategy.reinduction
    if kept is not None:
        found.append(
            f"{strategy.name}: maintenance every {kept.interval_weeks} week(s), at which the "
            f"hazard of losing the response is {kept.interval_multiplier:g} times that of the "
            "trial's weekly to fortnightly treatment"
        )
    if again is not None:
        found.append(
            f"{strategy.name}: re-induction of {again.infusions} infusions over {again.weeks} "
            f"week(s), at most {again.times} time(s), brings back a response with probability "
            f"{again.success:g}"
        )
    return found


def _of_run(specification: Specification) -> list[str]:
    found = []
    leaving = specification.dropout
    if leaving is not None and leaving.per_infusion:
        found.append(
            f"drop-out: {leaving.per_infusion:g} do not come to the next infusion of the course, "
            "whatever their status"
        )
    if leaving is not None and leaving.per_maintenance_week:
        found.append(f"drop-out: {leaving.per_maintenance_week:g} leave maintenance in a week")
    if specification.remission_share is not None:
        found.append(
            f"of those in response after the course {specification.remission_share:g} are in "
            "remission, at every week"
        )
    costs, utilities = specification.costs, specification.utilities
    if costs is not None:
        found.append(
            f"costs in {costs.currency}: {costs.per_patient:g} per patient, "
            f"{costs.per_infusion:g} per infusion, {costs.per_week_in_response:g} per week in "
            f"response, {costs.per_week_otherwise:g} per other week"
        )
    if utilities is not None:
        found.append(
            f"utilities: {utilities.in_response:g} in response, {utilities.otherwise:g} otherwise"
        )
    if specification.discount_per_year is not None:
        found.append(f"discount: {specification.discount_per_year:g} per year")
    return found


def _carried(specification: Specification) -> list[str]:
    found = []
    if any(strategy.maintenance for strategy in specification.strategies):
        found.append(
            "the hazard ratios of maintenance are those of a trial of esketamine nasal spray "
            "(SUSTAIN-1) in patients who had been stable for weeks; that they hold for "
            "intravenous racemic ketamine from the last infusion on is an assumption"
        )
    if any(strategy.reinduction for strategy in specification.strategies):
        found.append(
            "a response after re-induction is taken to last as long as one after a first course"
        )
    kinds = {group.clinic for group in specification.cohort.groups}
    if kinds - {NEW, AVERAGE}:
        found.append(
            "a clinic's own results enter its rates only; how statuses go together and how long a "
            "response lasts are those of a new clinic"
        )
    if any(group.clinics > 1 for group in specification.cohort.groups):
        found.append(
            "how statuses go together is taken as independent between new clinics, although what "
            "the evidence leaves open about it is common to them: ranges over several clinics are "
            "a little too narrow"
        )
    return found


def _extrapolated(specification: Specification, support: Support | None) -> list[str]:
    """List what a prediction would flag, with the groups and courses for which it would."""
    if support is None:
        return []
    found = []
    least, most = support.failed_trials
    flags = {
        "not_treatment_resistant": _TOO_FEW,
        "failed_trials_extrapolated": (
            f"the supported range is {least} to {most}; beyond it the answer is an extrapolation"
        ),
    }
    for code, told in flags.items():
        groups = [
            group
            for group in specification.cohort.groups
            if group.weight and code in support.beyond(group.failed_trials, 1, group.rated_by)
        ]
        if groups:
            share = sum(group.weight for group in groups) / specification.cohort.total
            numbers = ", ".join(str(one) for one in sorted({one.failed_trials for one in groups}))
            found.append(f"failed trials {numbers} ({100 * share:.3g} % of the cohort): {told}")
    longer = [
        strategy
        for strategy in specification.strategies
        if "infusions_extrapolated" in support.beyond(least, strategy.most_infusions, "self")
    ]
    if longer:
        first, last = support.infusions
        courses = ", ".join(f"{one.name} (up to {one.most_infusions})" for one in longer)
        found.append(
            f"{courses}: the supported range of infusions is {first} to {last}; infusions beyond "
            f"{support.plateau} are answered as {support.plateau} (a choice of the model, after "
            "the published finding of no decline)"
        )
    return found


def _fragment(message: str) -> str:
    """Write a notice as one of a list."""
    return message[0].lower() + message[1:].rstrip(".")


def _limits(specification: Specification) -> list[str]:
    found = [
        (
            "differences between strategies are differences under the model's assumptions: no "
            "trial has compared these courses, and the slope over infusions is an association"
        ),
        (
            "time in response rests on 41 responders in four small cohorts, and is known to day "
            "70; all that is later is the shape of a curve"
        ),
        (
            "patients who end the course without response are not followed: they count as not in "
            "response to the horizon"
        ),
        (
            "patients who leave treatment in response keep it as long as others do without "
            "maintenance; they are not treated again"
        ),
        "nothing is said on harms, on other treatments or on remission after the course",
        _fragment(ASSUMED_SLOPE.message),
        _fragment(GROUP_LEVEL.message),
    ]
    paces = {one.per_week for one in specification.strategies}
    if len(paces) > 1 or any(one.taper for one in specification.strategies):
        found.append(
            "the pace of infusions sets their days only: the rates after each infusion are the "
            "same at any pace, because no source tells paces apart"
        )
    if specification.draws < ROUGH_BELOW:
        found.append(
            f"ranges and probabilities rest on {specification.draws} draw(s) of the model and are "
            f"rough; give {ROUGH_BELOW} or more"
        )
    if any(group.rated_by == "unknown" for group in specification.cohort.groups):
        found.append(
            "an unknown rater is taken as half of the patients each, which gives narrower ranges "
            "than a prediction, where one rater or the other holds for all"
        )
    return found
