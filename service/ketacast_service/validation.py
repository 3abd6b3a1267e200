"""From failed validation to problem documents: the field, what is wrong, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ketacast.errors import InputError
from ketacast_service.errors import FieldProblem, ProblemError

TAGS: Final = frozenset({"number", "range", "stored", "profile", "sent", "word"})
"""Names of the branches of our unions: part of a validator's path, not of the document's."""

PRINTABLE: Final = (
    "^[ -~\u00a1-\u00ac\u00ae-\u0377\u0391-\u03a1\u03a3-\u052f\u05d0-\u05ea"
    "\u0620-\u064a\u0904-\u0939\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3]*$"
)
"""Letters of the common scripts: nothing invisible, and a pattern that clients can check."""

_WORD: Final = re.compile(r"[a-z_]+")


class Strict(BaseModel):
    """A body that is taken as it is: no unknown fields, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Body = TypeVar("Body", bound=BaseModel)


def parse(model: type[Body], raw: bytes) -> Body:
    """Read a JSON body.

    Raises
    ------
    ProblemError
        "malformed-request" if it is not JSON, "invalid-input" if a field cannot be used.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=True, include_input=False)
        raise problem_of(faults, model.model_fields) from None


def problem_of(
    faults: Sequence[Mapping[str, Any]], fields: Mapping[str, Any] | None = None
) -> ProblemError:
    """Return the problem that a validator's faults amount to."""
    for fault in faults:
        if fault["type"] == "json_invalid":
            reason = (fault.get("ctx") or {}).get("error", fault["msg"])
            return ProblemError("malformed-request", f"the body is not JSON: {reason}; correct it")
    found: dict[str, FieldProblem] = {}
    for fault in faults:
        where = _pointer(fault["loc"])
        found.setdefault(where, FieldProblem(where, _detail(fault), _remedy(fault, where, fields)))
    errors = tuple(found.values())
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    place = first.field or "the request"
    return ProblemError(
        "invalid-input", f"{place}: {first.detail}; {first.remedy}{more}", errors=errors
    )


def problem_from(error: InputError) -> ProblemError:
    """Return the problem that a refused value amounts to; its field is the message's first word."""
    text = str(error)
    detail, _, remedy = text.partition("; ")
    word = _WORD.match(detail)
    field = f"/{word.group()}" if word else ""
    if field == "/level":
        field = "/levels"
    return ProblemError(
        "invalid-input", text, errors=(FieldProblem(field, detail, remedy or "correct the value"),)
    )


def _pointer(path: Sequence[str | int]) -> str:
    """RFC 6901 pointer into the body; a parameter of path or query is named by its name."""
    parts = [part for part in path if part not in TAGS]
    if parts and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _detail(fault: Mapping[str, Any]) -> str:
    kind = fault["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a field of this request"
    if _is_of_text(fault):
        return _unprintable(fault)
    message = str(fault["msg"])
    return message[:1].lower() + message[1:]


def _is_of_text(fault: Mapping[str, Any]) -> bool:
    if fault["type"] != "string_pattern_mismatch":
        return False
    return str(fault["ctx"]["pattern"]).startswith(PRINTABLE.removesuffix("]*$"))


def _unprintable(fault: Mapping[str, Any]) -> str:
    """Name the first character that is not read; a whole pattern says nothing to a reader."""
    text, pattern = fault.get("input"), fault["ctx"]["pattern"]
    odd = [one for one in text if not re.fullmatch(pattern, one)] if isinstance(text, str) else []
    which = f" ({odd[0]!a})" if odd else ""
    return f"holds a character{which} that is no letter, digit or common sign"


def _remedy(fault: Mapping[str, Any], where: str, fields: Mapping[str, Any] | None) -> str:
    if fault["type"] == "extra_forbidden":
        return "leave it out"
    if _is_of_text(fault):
        return "leave such characters out; /openapi.json has the pattern"
    root = where[1:].partition("/")[0]
    field = (fields or {}).get(root)
    text = getattr(field, "description", None)
    return f"give: {text}" if text else "correct it; /openapi.json describes every field"
