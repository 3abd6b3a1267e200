"""A signed token in its compact form, taken apart strictly before anything is checked.

What a lenient reader lets pass is what attacks are made of: members given twice, padding
and stray characters in base64, numbers without end, nesting without bottom.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ketacast_service.security.refusal import RefusedError

DEEPEST: Final = 12
"""Levels of nesting; issuers use up to five."""
_COMPACT: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ID: Final = re.compile(r"[\x21-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Compact:
    """A token taken apart; nothing in it has been verified.

    Attributes
    ----------
    header, payload : mapping
        JSON objects.
    signed : bytes
        What the signature covers.
    signature : bytes
        As sent.
    """

    header: Mapping[str, Any] = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The ``alg`` of the header."""
        found = self.header.get("alg")
        if not isinstance(found, str):
            raise RefusedError("algorithm-missing")
        return found

    @property
    def kid(self) -> str | None:
        """Id of the signing key, if given."""
        found = self.header.get("kid")
        if found is None:
            return None
        if not isinstance(found, str) or _ID.fullmatch(found) is None:
            raise RefusedError("kid-malformed")
        return found


def read_compact(token: bytes, longest: int) -> Compact:
    """Take a token apart.

    Parameters
    ----------
    token : bytes
        As presented.
    longest : int
        Most bytes it may have.

    Raises
    ------
    RefusedError
        If it is too long or not three parts of canonical base64url with JSON objects.
    """
    if len(token) > longest:
        raise RefusedError("token-too-long")
    if _COMPACT.fullmatch(token) is None:
        raise RefusedError("token-malformed")
    head, body, seal = token.split(b".")
    return Compact(
        header=read_object(_decode(head)),
        payload=read_object(_decode(body)),
        signed=token[: len(head) + 1 + len(body)],
        signature=_decode(seal),
    )


def read_object(text: bytes) -> dict[str, Any]:
    """Read a JSON object strictly.

    Raises
    ------
    RefusedError
        If it is no JSON object, nested too deep, or names a member twice.
    """
    try:
        found = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise RefusedError("json-malformed") from None
    if not isinstance(found, dict):
        raise RefusedError("json-malformed")
    if _is_deeper(found, DEEPEST):
        raise RefusedError("json-too-deep")
    return found


def _decode(part: bytes) -> bytes:
    try:
        found = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise RefusedError("token-malformed") from None
    # Unused bits of the last character must be zero, or one token has several texts.
    if base64.urlsafe_b64encode(found).rstrip(b"=") != part:
        raise RefusedError("token-malformed")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError("json-duplicate-member")
    return found


def _refuse_constant(_name: str) -> NoReturn:
    raise RefusedError("json-malformed")


def _is_deeper(value: object, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, (dict, list)) for value in layer)
