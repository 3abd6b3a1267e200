"""Which field of a request the library means when it refuses a simulation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ketacast.errors import InputError
from ketacast_service.errors import FieldProblem, ProblemError

_PLACE: Final = re.compile(r"^(the |\[simulation\] )?\[*(?P<word>[a-z_]+)(?P<part>\.[a-z_]+)?")
_OF_GROUP: Final = re.compile(r"^\[\[cohort\.groups\]\] (?P<place>\d+)")
_OF_STRATEGY: Final = re.compile(
    r"^: (has (two )?)?(?P<part>extend|infusions|maintenance|per_week|reinduction|stop|taper)\b"
)
_RUN: Final = ("classes", "draws", "horizon_weeks", "levels", "patients", "seed", "title")
_ASSUMED: Final = ("discount_per_year", "remission_share", "willingness_to_pay")
_FIELDS: Final = {
    **{name: f"/{name}" for name in ("cohort", "costs", "dropout", "strategies", "utilities")},
    **{name: f"/simulation/{name}" for name in _RUN},
    **{name: f"/assumptions/{name}" for name in _ASSUMED},
}
"""Where the first word of a message points to."""


def problem_of(error: InputError, document: Mapping[str, Any]) -> ProblemError:
    """Return the problem of a specification that cannot be used.

    Parameters
    ----------
    error : InputError
        Of the library.
    document : mapping
        The specification it was made from.
    """
    detail, _, remedy = str(error).partition("; ")
    return refused(field_of(detail, document), detail, remedy or "correct it")


def refused(field: str, detail: str, remedy: str) -> ProblemError:
    """Return the problem of one field."""
    return ProblemError(
        "invalid-input", f"{detail}; {remedy}", [FieldProblem(field, detail, remedy)]
    )


def field_of(detail: str, document: Mapping[str, Any]) -> str:
    """Return the pointer to what a message is about; empty for the whole request."""
    for find in (_group, _strategy, _stop):
        field = find(detail, document)
        if field:
            return field
    found = _PLACE.match(detail)
    if found is None:
        return ""
    word, part = found["word"], found["part"] or ""
    return _FIELDS.get(word, "") + (part.replace(".", "/") if word in document else "")


def _group(detail: str, document: Mapping[str, Any]) -> str:
    found = _OF_GROUP.match(detail)
    if found:
        return f"/cohort/groups/{int(found['place']) - 1}"
    if detail.startswith("clinics is "):
        for place, group in enumerate(document["cohort"]["groups"]):
            if group.get("clinics", 1) > 1 and group.get("clinic", "new") != "new":
                return f"/cohort/groups/{place}/clinics"
    return ""


def _strategy(detail: str, document: Mapping[str, Any]) -> str:
    names = [strategy["name"] for strategy in document["strategies"]]
    for place, name in reversed(list(enumerate(names))):  # of two alike the second one repeats
        if detail.startswith(f"strategy name {name!r}"):
            return f"/strategies/{place}/name"
        start = f"strategy {name!r}"
        if detail.startswith(start):
            found = _OF_STRATEGY.match(detail[len(start) :])
            return f"/strategies/{place}" + (f"/{found['part']}" if found else "")
    return "/strategies" if detail.startswith("strategy ") else ""


def _stop(detail: str, document: Mapping[str, Any]) -> str:
    if not detail.startswith("stop.none_in_last"):
        return ""
    return next(
        (
            f"/strategies/{place}/stop/{number}/none_in_last"
            for place, strategy in enumerate(document["strategies"])
            for number, stop in enumerate(strategy.get("stop", ()))
            if stop.get("none_in_last", 1) > stop["after"]
        ),
        "",
    )
