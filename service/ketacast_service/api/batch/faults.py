"""Why a row is refused: a stable number for the record, a text for the client."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from ketacast_service.errors import TYPE_PREFIX

COLUMNS: Final = ("failed_trials", "infusions", "rated_by")
ELSEWHERE: Final = "ask /v1/predictions"


class Reason(IntEnum):
    """Why a row is refused; the numbers stand in audit records and never change."""

    GOOD = 0
    TRIALS_MISSING = 1
    TRIALS_TYPE = 2
    TRIALS_LIMITS = 3
    TRIALS_RANGE = 4
    INFUSIONS_MISSING = 5
    INFUSIONS_TYPE = 6
    INFUSIONS_LIMITS = 7
    RATER_MISSING = 8
    RATER_TYPE = 9
    RATER_CHOICE = 10
    NOT_OFFERED = 11
    UNKNOWN_FIELD = 12
    REPEATED_FIELD = 13
    NOT_AN_OBJECT = 14
    LINE_TOO_LONG = 15
    NOT_UTF8 = 16
    NOT_JSON = 17


_SLUGS: Final = {
    Reason.LINE_TOO_LONG: "too-large",
    Reason.NOT_UTF8: "malformed-request",
    Reason.NOT_JSON: "malformed-request",
}

_LONGEST_TEXT: Final = 40
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 3, 3, 44


def shown(value: object) -> str:
    """Return the value for a message, cut where it is long."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return repr(value[:_LONGEST_TEXT]) + "..."
    return _SHORT.repr(value)


@dataclass(frozen=True, slots=True)
class RowFault:
    """What is wrong with one row.

    Attributes
    ----------
    reason : Reason
        For the record.
    column : str
        Name of the field; empty where the whole row is at fault.
    detail : str
        What is wrong, with the value.
    remedy : str
        How to mend it.
    """

    reason: Reason
    column: str
    detail: str
    remedy: str

    def to_dict(self, row: int | None = None) -> dict[str, str]:
        """Return a plain dictionary; with a row, the field points into a column."""
        field = f"/{self.column}" if self.column else ""
        return {
            "type": TYPE_PREFIX + _SLUGS.get(self.reason, "invalid-input"),
            "field": field if row is None else f"{field}/{row}",
            "detail": self.detail,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        return f"{self.detail}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model answers, and how a single value is judged.

    Attributes
    ----------
    trials, infusions : (int, int)
        Lowest and highest number answered.
    raters : tuple of str
        In the order of the model's table.
    """

    trials: tuple[int, int]
    infusions: tuple[int, int]
    raters: tuple[str, ...]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Limits:
        """Read the limits of an artifact's content."""
        support = content["support"]
        low, high = support["failed_trials_answered"]
        first, last = support["infusions_answered"]
        return cls((low, high), (first, last), tuple(content["table"]["raters"]))

    def judge_trials(self, value: object) -> Reason:
        """Judge a number of failed trials."""
        if type(value) is int:
            low, high = self.trials
            return Reason.GOOD if low <= value <= high else Reason.TRIALS_LIMITS
        if value is None:
            return Reason.TRIALS_MISSING
        return Reason.TRIALS_RANGE if isinstance(value, (list, dict)) else Reason.TRIALS_TYPE

    def judge_infusions(self, value: object) -> Reason:
        """Judge a number of infusions."""
        if type(value) is int:
            low, high = self.infusions
            return Reason.GOOD if low <= value <= high else Reason.INFUSIONS_LIMITS
        return Reason.INFUSIONS_MISSING if value is None else Reason.INFUSIONS_TYPE

    def judge_rater(self, value: object) -> Reason:
        """Judge who rates."""
        if isinstance(value, str):
            return Reason.GOOD if value in self.raters else Reason.RATER_CHOICE
        return Reason.RATER_MISSING if value is None else Reason.RATER_TYPE

    def fault(self, reason: Reason, value: object = None) -> RowFault:
        """Put a refused value into words.

        Parameters
        ----------
        reason : Reason
            One of a column's reasons.
        value : object
            The refused value.
        """
        column, remedy = _remedies(self)[reason]
        detail = f"{column} is missing" if value is None else f"{column} is {shown(value)}"
        return RowFault(reason, column, detail, remedy)


@lru_cache(maxsize=16)
def _remedies(limits: Limits) -> dict[Reason, tuple[str, str]]:
    """Column and remedy of each reason that concerns one value."""
    trials = f"give a whole number from {limits.trials[0]} to {limits.trials[1]}"
    infusions = f"give a whole number from {limits.infusions[0]} to {limits.infusions[1]}"
    rater = f"choose one of {', '.join(map(repr, limits.raters))}"
    return {
        Reason.TRIALS_MISSING: ("failed_trials", trials),
        Reason.TRIALS_TYPE: ("failed_trials", trials),
        Reason.TRIALS_LIMITS: ("failed_trials", trials),
        Reason.TRIALS_RANGE: ("failed_trials", f"{trials}, or for a range {ELSEWHERE}"),
        Reason.INFUSIONS_MISSING: ("infusions", infusions),
        Reason.INFUSIONS_TYPE: ("infusions", infusions),
        Reason.INFUSIONS_LIMITS: ("infusions", infusions),
        Reason.RATER_MISSING: ("rated_by", rater),
        Reason.RATER_TYPE: ("rated_by", rater),
        Reason.RATER_CHOICE: ("rated_by", rater),
    }
