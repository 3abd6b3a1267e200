"""Reading JSON of strangers: sizes first, no key twice, nothing that is no JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from ketacast_service.api.batch.faults import COLUMNS, ELSEWHERE, shown
from ketacast_service.errors import FieldProblem, ProblemError

NOT_OFFERED: Final = ("so_far", "clinic")
"""Keys of a single request that a batch does not take."""
_MOST_PROBLEMS: Final = 10
_SPARE: Final = 64


class RepeatedKeyError(ValueError):
    """An object has a key twice; its argument is the key."""


def check_size(body: bytes, max_rows: int) -> None:
    """Refuse a document with many more values than rows before it is read into memory.

    An empty list takes three bytes of text and about sixty of memory, so the size of the body
    alone does not bound what reading it takes. Commas and brackets do.

    Raises
    ------
    ProblemError
        "too-large".
    """
    commas = body.count(b",")
    brackets = body.count(b"[") + body.count(b"{")
    # A row is three values and at worst a pair of failed trials, which is refused later.
    if commas > (len(COLUMNS) + 1) * max_rows + _SPARE or brackets > max_rows + _SPARE:
        raise ProblemError(
            "too-large",
            f"the body has {commas} commas and {brackets} brackets, too many for {max_rows} rows; "
            "send the rest in further batches",
        )


def read_plain(
    body: bytes, keys: Sequence[str], reader: Callable[..., Any]
) -> dict[str, Any] | None:
    """Read a document with a fast reader that keeps the last of equal keys.

    Returns
    -------
    dict or None
        None where the exact reader must look: a key may stand twice, or it is no JSON object.
    """
    if b"\\" in body or any(body.count(b'"%b"' % key.encode()) > 1 for key in keys):
        return None
    try:
        found = reader(body, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(found, dict) or not found.keys() <= set(keys):
        return None
    return found


def read_exactly(body: bytes) -> dict[str, Any]:
    """Read a JSON object, slowly and strictly.

    Raises
    ------
    ProblemError
        "malformed-request" if it is not UTF-8, no JSON or no object; "invalid-input" if a key
        stands twice.
    """
    remedy = 'give {"failed_trials":[...],"infusions":[...],"rated_by":[...]}'
    try:
        found = loads(body)
    except UnicodeDecodeError as error:
        detail = f"the body is not UTF-8 at byte {error.start}; send JSON in UTF-8"
        raise ProblemError("malformed-request", detail) from None
    except RepeatedKeyError as error:
        problem = FieldProblem(_pointer(str(error)), "the key stands twice", "give it once")
        detail = f"the key {shown(str(error))} stands twice; give it once"
        raise ProblemError("invalid-input", detail, [problem]) from None
    except (ValueError, RecursionError) as error:
        detail = f"the body is no JSON ({_cause(error)}); {remedy}"
        raise ProblemError("malformed-request", detail) from None
    if not isinstance(found, dict):
        detail = f"the body is {shown(found)}, no JSON object; {remedy}"
        raise ProblemError("malformed-request", detail)
    return found


def loads(text: bytes) -> Any:
    """Read JSON in UTF-8 strictly: no key twice, no NaN.

    Raises
    ------
    UnicodeDecodeError
        If it is not UTF-8.
    RepeatedKeyError
        If a key stands twice.
    ValueError, RecursionError
        If it is no JSON, nested too deeply or has an integer of thousands of digits.
    """
    return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKeyError(key)
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; give null or leave the row out")


def _cause(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]


def check_keys(found: dict[str, Any], needed: Sequence[str], further: Sequence[str]) -> None:
    """Refuse unknown and missing keys of a whole document.

    Raises
    ------
    ProblemError
        "invalid-input" naming each.
    """
    problems = [
        FieldProblem(f"/{name}", f"{name} is missing", f"give {', '.join(needed)}")
        for name in needed
        if name not in found
    ]
    for key in found:
        if key in NOT_OFFERED:
            detail = f"{key} is not offered in batches"
            problems.append(FieldProblem(_pointer(key), detail, ELSEWHERE))
        elif key not in needed and key not in further:
            remedy = f"leave it out; known are {', '.join((*needed, *further))}"
            problems.append(FieldProblem(_pointer(key), f"{shown(key)} is not known", remedy))
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        detail = f"{problems[0].detail}; {problems[0].remedy}"
        raise ProblemError("invalid-input", detail, problems)


def _pointer(key: str) -> str:
    """JSON pointer (RFC 6901) to a key, cut where it is long."""
    return "/" + key[:80].replace("~", "~0").replace("/", "~1")
