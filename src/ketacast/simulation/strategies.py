"""Courses and strategies: small declarative rules, each a frozen record.

A strategy says how many infusions are planned and when, who stops early, who goes on
longer, and what follows a response. Nothing has a value that the evidence cannot give:
what a longer interval of maintenance does, or how often a second course works, is the
user's to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from ketacast.errors import InputError
from ketacast.options import check_choice, shown

Who = Literal["no response", "response without remission", "not in remission"]
HazardSource = Literal["responders", "remitters", "own status"]

WHO: Final[tuple[Who, ...]] = get_args(Who)
HAZARD_SOURCES: Final[tuple[HazardSource, ...]] = get_args(HazardSource)

LONGEST_COURSE: Final = 30
"""Infusions of a course at most, as in a prediction."""

LONGEST_HORIZON: Final = 104
"""Weeks at most, as in the answer on time in response."""

MOST_REINDUCTIONS: Final = 10
LETTERS: Final = "NRM"
"""Statuses: no response, response without remission, remission."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop patients who show no response.

    Attributes
    ----------
    after : int
        The infusion after which is looked, at least 1.
    none_in_last : int
        Stop if none of the last so many infusions was followed by a response: 1 looks at
        the present status only, `after` at the whole course so far.
    """

    after: int
    none_in_last: int = 1

    def __post_init__(self) -> None:
        whole("stop.after", self.after, 1, LONGEST_COURSE)
        whole("stop.none_in_last", self.none_in_last, 1, self.after)


@dataclass(frozen=True, slots=True)
class Extend:
    """Go on beyond the plan while the status is one of a kind.

    Attributes
    ----------
    to : int
        The last infusion at most.
    who : {"no response", "response without remission", "not in remission"}
        Who gets the next infusion; asked after every infusion from the plan's last on.
    """

    to: int
    who: Who = "response without remission"

    def __post_init__(self) -> None:
        whole("extend.to", self.to, 2, LONGEST_COURSE)
        check_choice("extend.who", self.who, WHO)

    @property
    def letters(self) -> str:
        """Statuses that go on."""
        kinds = {"no response": "N", "response without remission": "R", "not in remission": "NR"}
        return kinds[self.who]


@dataclass(frozen=True, slots=True)
class Taper:
    """Infusions at another pace that end the course.

    Attributes
    ----------
    infusions : int
        How many, after the planned ones, for all who are still in the course.
    per_week : float
        Their pace.
    """

    infusions: int
    per_week: float

    def __post_init__(self) -> None:
        whole("taper.infusions", self.infusions, 1, LONGEST_COURSE)
        real("taper.per_week", self.per_week, 0.25, 7.0)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Infusions while in response after the course.

    Attributes
    ----------
    interval_weeks : int
        Weeks between infusions.
    interval_multiplier : float
        The user's assumption: hazard of losing the response at this interval relative to
        the trial's weekly to fortnightly treatment, > 0. Nothing in the evidence tells
        intervals apart, so it must be given; 1 says "no difference".
    hazard_ratio_from : {"responders", "remitters", "own status"}
        Which stratum of the esketamine trial lends its hazard ratio; "own status" takes
        that of the patient's status at the end of the course.
    """

    interval_weeks: int
    interval_multiplier: float
    hazard_ratio_from: HazardSource = "own status"

    def __post_init__(self) -> None:
        whole("maintenance.interval_weeks", self.interval_weeks, 1, LONGEST_HORIZON)
        real("maintenance.interval_multiplier", self.interval_multiplier, 1e-3, 1e3)
        check_choice("maintenance.hazard_ratio_from", self.hazard_ratio_from, HAZARD_SOURCES)


@dataclass(frozen=True, slots=True)
class Reinduction:
    """Another course at the loss of response; its success is the user's assumption.

    Attributes
    ----------
    infusions : int
        Infusions of it, counted at its start.
    weeks : int
        Weeks it takes; the patient is not in response meanwhile.
    success : float
        Probability of a response at its end, 0 to 1. No source in the evidence gives it.
    times : int
        How often per patient at most.
    """

    infusions: int
    weeks: int
    success: float
    times: int = 1

    def __post_init__(self) -> None:
        whole("reinduction.infusions", self.infusions, 1, LONGEST_COURSE)
        whole("reinduction.weeks", self.weeks, 1, LONGEST_HORIZON)
        real("reinduction.success", self.success, 0.0, 1.0)
        whole("reinduction.times", self.times, 1, MOST_REINDUCTIONS)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to treat a cohort.

    Attributes
    ----------
    name : str
        How results call it; 1 to 60 characters.
    infusions : int
        Planned infusions.
    per_week : float
        Their pace, 0.25 to 7; an infusion falls on the whole day at or before its time.
    taper : Taper, optional
    stop : tuple of Stop
    extend : Extend, optional
        Not together with a taper.
    maintenance : Maintenance, optional
    reinduction : Reinduction, optional
    """

    name: str
    infusions: int
    per_week: float = field(default=2.0)
    taper: Taper | None = None
    stop: tuple[Stop, ...] = ()
    extend: Extend | None = None
    maintenance: Maintenance | None = None
    reinduction: Reinduction | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not 1 <= len(name) <= 60 or not name.isprintable():
            raise InputError(f"strategy name is {shown(name)}; give 1 to 60 printable characters")
        where = f"strategy {name!r}: "
        whole(where + "infusions", self.infusions, 1, LONGEST_COURSE)
        real(where + "per_week", self.per_week, 0.25, 7.0)
        if self.planned > LONGEST_COURSE:
            raise InputError(
                f"{where}{self.infusions} infusions and a taper make {self.planned}; "
                f"give at most {LONGEST_COURSE}"
            )
        if self.extend is not None and self.taper is not None:
            raise InputError(f"{where}has extend and taper; give one of them")
        if self.extend is not None and self.extend.to <= self.infusions:
            raise InputError(
                f"{where}extend.to is {self.extend.to}; give more than the {self.infusions} planned"
            )
        if len({one.after for one in self.stop}) < len(self.stop):
            raise InputError(
                f"{where}has two stop rules after the same infusion; keep the one with the "
                "shorter look-back"
            )
        for one in self.stop:
            if one.after >= self.most_infusions:
                raise InputError(
                    f"{where}stop.after is {one.after}, but the course ends at infusion "
                    f"{self.most_infusions}; give an earlier one or leave it out"
                )

    @property
    def planned(self) -> int:
        """Infusions planned, a taper's included."""
        return self.infusions + (self.taper.infusions if self.taper else 0)

    @property
    def most_infusions(self) -> int:
        """Infusions of a course at most."""
        return self.extend.to if self.extend else self.planned

    @property
    def days(self) -> tuple[int, ...]:
        """Day of each possible infusion; the first is on day 0, no two on one day."""
        # Multiplied first: 7 * 3 / 3.5 is a whole number, 7 / 3.5 * 3 need not be.
        days = [math.floor(7 * i / self.per_week) for i in range(self.most_infusions)]
        if self.taper is not None:
            last = days[self.infusions - 1]
            for i in range(self.taper.infusions):
                days[self.infusions + i] = last + math.floor(7 * (i + 1) / self.taper.per_week)
        return tuple(days)


def whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}; give a whole number from {low} to {high}")


def real(name: str, value: object, low: float, high: float) -> None:
    """Refuse what is not a finite number from `low` to `high`."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise InputError(f"{name} is {shown(value)}; give a number from {low:g} to {high:g}")


def text(name: str, value: object, most: int) -> None:
    """Refuse what is not text of at most `most` characters that a file can hold."""
    good = isinstance(value, str) and len(value) <= most
    if not good or not _encodable(value):  # type: ignore[arg-type]
        raise InputError(f"{name} is {shown(value)}; give text of at most {most} characters")


def _encodable(value: str) -> bool:
    """No half of a surrogate pair, which UTF-8 does not know."""
    return not any("\ud800" <= one <= "\udfff" for one in value)
