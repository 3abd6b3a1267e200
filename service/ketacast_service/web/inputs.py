"""What was typed into the page: read, checked, and told apart from what is still missing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ketacast.options import RATERS, Rater

FIELDS: Final = ("failed_trials", "infusions", "rated_by", "so_far", "compare")
"""What a permalink carries."""

DEFAULT_INFUSIONS: Final = "6"
LONGEST: Final = 200
"""Characters of a field that are looked at."""

_TRIALS: Final = re.compile(r"(\d{1,4})(?:\s*(?:-|–|—|\.\.|to|bis|a|hasta)\s*(\d{1,4}))?", re.ASCII)
_WHOLE: Final = re.compile(r"\d{1,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field: key of the sentence, its values, or that it is missing."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    missing: bool = False
    detail: str = ""


@dataclass(slots=True)
class Asked:
    """Inputs as typed and, where they can be used, as read.

    Attributes
    ----------
    typed : mapping of str to str
        By field, for showing again.
    faults : dict of str to Fault
        By field.
    trials : (int, int) or None
    infusions, compare : int or None
    rated_by : str or None
    so_far : str
    profile : mapping or None
        A clinic's profile.
    """

    typed: Mapping[str, str]
    faults: dict[str, Fault] = field(default_factory=dict)
    trials: tuple[int, int] | None = None
    infusions: int | None = None
    rated_by: Rater | None = None
    so_far: str = ""
    compare: int | None = None
    profile: Mapping[str, Any] | None = None

    @property
    def begun(self) -> bool:
        """Whether anything was asked at all."""
        return any(self.typed[name] for name in ("failed_trials", "rated_by", "so_far", "compare"))

    @property
    def complete(self) -> bool:
        """Whether it can be answered."""
        return not self.faults

    def wrong(self) -> list[str]:
        """Name the fields that hold something that cannot be used."""
        return [name for name, fault in self.faults.items() if not fault.missing]

    def link(self) -> dict[str, str]:
        """Return what a permalink carries: the inputs, nothing else."""
        return {name: self.typed[name] for name in FIELDS if self.typed[name]}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the model answers."""

    trials: tuple[int, int]
    infusions: tuple[int, int]


def bounds_of(support: Mapping[str, Sequence[int]]) -> Bounds:
    """Read the bounds from the section ``support`` of an artifact."""
    (few, many), (short, long) = support["failed_trials_answered"], support["infusions_answered"]
    return Bounds((few, many), (short, long))


def read_inputs(given: Mapping[str, str], bounds: Bounds, *, posted: bool = False) -> Asked:
    """Read and check the fields.

    Parameters
    ----------
    given : mapping of str to str
        As sent; unknown names are passed over.
    bounds : Bounds
        What the model answers.
    posted : bool
        Whether a form was posted, so that a file is its content and not its name.
    """
    typed = {name: given.get(name, "").strip()[:LONGEST] for name in FIELDS}
    if "infusions" not in given:
        typed["infusions"] = DEFAULT_INFUSIONS
    asked = Asked(typed)
    _read_trials(asked, bounds)
    _read_infusions(asked, bounds)
    asked.rated_by = next((rater for rater in RATERS if rater == typed["rated_by"]), None)
    if asked.rated_by is None:
        asked.faults["rated_by"] = Fault("rater_missing", missing=True)
    _read_course(asked)
    _read_compare(asked, bounds)
    _read_profile(asked, given.get("clinic", ""), posted=posted)
    return asked


def _read_trials(asked: Asked, bounds: Bounds) -> None:
    text = asked.typed["failed_trials"]
    low, high = bounds.trials
    values = {"given": text, "low": low, "high": high}
    match = _TRIALS.fullmatch(text)
    if not text:
        fault = Fault("trials_missing", values, missing=True)
    elif match is None:
        fault = Fault("trials_form", values)
    else:
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            fault = Fault("trials_order", values)
        elif first < low or last > high:
            fault = Fault("trials_bounds", values)
        else:
            asked.trials = (first, last)
            return
    asked.faults["failed_trials"] = fault


def _read_infusions(asked: Asked, bounds: Bounds) -> None:
    text = asked.typed["infusions"]
    low, high = bounds.infusions
    values = {"given": text, "low": low, "high": high}
    if not text:
        asked.faults["infusions"] = Fault("infusions_missing", values, missing=True)
    elif not _WHOLE.fullmatch(text):
        asked.faults["infusions"] = Fault("infusions_form", values)
    elif not low <= int(text) <= high:
        asked.faults["infusions"] = Fault("infusions_bounds", values)
    else:
        asked.infusions = int(text)


def _read_course(asked: Asked) -> None:
    letters = "".join(asked.typed["so_far"].split()).upper()
    foreign = next((letter for letter in letters if letter not in "NRM?"), None)
    if foreign is not None:
        asked.faults["so_far"] = Fault("so_far_letter", {"given": foreign})
    elif letters and asked.infusions is not None and len(letters) >= asked.infusions:
        values = {"count": len(letters), "planned": asked.infusions}
        asked.faults["so_far"] = Fault("so_far_long", values)
    else:
        asked.so_far = letters


def _read_compare(asked: Asked, bounds: Bounds) -> None:
    text = asked.typed["compare"]
    low, high = bounds.infusions
    values = {"given": text, "low": low, "high": high}
    if not text:
        return
    if not _WHOLE.fullmatch(text):
        asked.faults["compare"] = Fault("compare_form", values)
    elif not low <= int(text) <= high:
        asked.faults["compare"] = Fault("compare_bounds", values)
    elif int(text) == asked.infusions:
        asked.faults["compare"] = Fault("compare_same", values)
    elif asked.typed["so_far"]:
        asked.faults["compare"] = Fault("compare_course", values)
    else:
        asked.compare = int(text)


def _read_profile(asked: Asked, text: str, *, posted: bool) -> None:
    if not text.strip():
        return
    if not posted:  # a browser without script sent the file's name, not the file
        asked.faults["clinic"] = Fault("clinic_button")
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and content.get("kind"):
        asked.profile = content
    else:
        asked.faults["clinic"] = Fault("clinic_form")
