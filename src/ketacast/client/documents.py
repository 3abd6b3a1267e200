"""From JSON documents to the library's own values, lossless and checked.

Unknown keys are left alone, for later versions may add some; a missing key, another type
or a number that is no probability is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ketacast.errors import InputError
from ketacast.prediction import (
    ClinicEstimate,
    ClinicId,
    CoursePoint,
    EvidenceBasis,
    Inputs,
    Interval,
    Intervals,
    ModelId,
    Notice,
    OutcomeEstimate,
    Prediction,
)

T = TypeVar("T")

_UPDATE = "client and service may be of versions that do not fit: update the older one"


class Reading:
    """A JSON object whose keys are taken by type; errors name the place.

    Parameters
    ----------
    value : object
        What was read from JSON.
    place : str
        JSON pointer of the object, for messages.
    """

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, Mapping):
            raise _refused(place, value, "an object")
        self._value = value
        self._place = place

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def at(self, name: str) -> str:
        """Return the pointer of a key."""
        return f"{self._place}/{name}"

    def raw(self, name: str) -> Any:
        """Return whatever stands at a key."""
        if name not in self._value:
            raise InputError(f"{self.at(name)} is missing; {_UPDATE}")
        return self._value[name]

    def text(self, name: str) -> str:
        """Return a text."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise _refused(self.at(name), value, "text")
        return value

    def whole(self, name: str) -> int:
        """Return a whole number that is not negative."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _refused(self.at(name), value, "a whole number")
        return value

    def seconds(self, name: str) -> float:
        """Return a number that is not negative."""
        value = self.raw(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= sys.float_info.max:
            raise _refused(self.at(name), value, "a number of seconds")
        return float(value)

    def probability(self, name: str) -> float:
        """Return a number from 0 to 1."""
        return _probability(self.raw(name), self.at(name))

    def inner(self, name: str) -> Reading:
        """Return an object in this one."""
        return Reading(self.raw(name), self.at(name))

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object in this one as a plain dictionary."""
        inner = self.inner(name)
        return {key: inner.raw(key) for key in inner}

    def each(self, name: str, read: Callable[[Reading], T]) -> tuple[T, ...]:
        """Read a list of objects."""
        place = self.at(name)
        return tuple(
            read(Reading(value, f"{place}/{i}")) for i, value in enumerate(self.items(name))
        )

    def items(self, name: str) -> list[Any]:
        """Return a list."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise _refused(self.at(name), value, "a list")
        return value

    def intervals(self, name: str) -> Intervals:
        """Return intervals by level."""
        place = self.at(name)
        levels, bounds = [], []
        for level, ends in self.mapping(name).items():
            where = f"{place}/{level}"
            levels.append(_level(level, where))
            bounds.append(_interval(ends, where))
        if not levels:
            raise _refused(place, {}, "at least one interval")
        return Intervals(tuple(levels), tuple(bounds))


def _refused(place: str, value: object, wanted: str) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return InputError(f"{place or 'the document'} is {shown}, not {wanted}; {_UPDATE}")


def _probability(value: object, place: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise _refused(place, value, "a number from 0 to 1")


def _level(text: str, place: str) -> float:
    try:
        level = float(text)
    except ValueError:
        raise _refused(place, text, "a level such as 0.8") from None
    if not 0.0 < level < 1.0:
        raise _refused(place, text, "a level such as 0.8")
    return level


def _interval(value: object, place: str) -> Interval:
    if not isinstance(value, list) or len(value) != 2:
        raise _refused(place, value, "[low, high]")
    low, high = (_probability(end, place) for end in value)
    if low > high:
        raise _refused(place, value, "[low, high] in this order")
    return Interval(low, high)


def model_id(found: Reading) -> ModelId:
    """Return which model answered."""
    return ModelId(found.text("name"), found.text("version"), found.text("sha256"))


def notice(found: Reading) -> Notice:
    """Return a limit that goes with the numbers."""
    return Notice(found.text("code"), found.text("message"))


def prediction_from_dict(document: Mapping[str, Any]) -> Prediction:
    """Rebuild a prediction from its JSON document, equal to the last digit.

    Parameters
    ----------
    document : mapping
        As :meth:`ketacast.Prediction.to_dict` gives it; further keys are left alone.

    Returns
    -------
    Prediction
        With the same ``to_dict()``.

    Raises
    ------
    InputError
        If a key is missing, of another type, or not a probability where one belongs.
    """
    found = Reading(document)
    return Prediction(
        model=model_id(found.inner("model")),
        inputs=_inputs(found.inner("inputs")),
        response=_estimate(found.inner("response")),
        remission=_estimate(found.inner("remission")),
        course=found.each("course", _point),
        warnings=found.each("warnings", notice),
        basis=basis(found.inner("basis")),
        extended=found.each("extended", _point) if "extended" in found else (),
        clinic=_clinic(found.inner("clinic")) if "clinic" in found else None,
    )


def _inputs(found: Reading) -> Inputs:
    trials = found.inner("failed_trials")
    return Inputs(
        (trials.whole("min"), trials.whole("max")),
        found.whole("infusions"),
        found.text("rated_by"),
        found.text("so_far") if "so_far" in found else "",
    )


def _estimate(found: Reading) -> OutcomeEstimate:
    return OutcomeEstimate(
        found.probability("expected"),
        found.probability("median"),
        found.intervals("average_clinic"),
        found.intervals("new_clinic"),
        _own(found.inner("clinic")) if "clinic" in found else None,
    )


def _own(found: Reading) -> ClinicEstimate:
    return ClinicEstimate(
        found.probability("expected"), found.probability("median"), found.intervals("this_clinic")
    )


def _point(found: Reading) -> CoursePoint:
    return CoursePoint(
        found.whole("infusion"),
        _estimate(found.inner("response")),
        _estimate(found.inner("remission")),
    )


def basis(found: Reading) -> EvidenceBasis:
    """Return what the numbers rest on."""
    return EvidenceBasis(found.whole("cohorts"), found.whole("patients"))


def _clinic(found: Reading) -> ClinicId:
    return ClinicId(
        found.text("label"), found.text("sha256"), found.whole("n"), found.text("method")
    )
