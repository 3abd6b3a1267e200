"""Forms that a browser posts: fields and a file, held in memory and dropped after the answer."""

from __future__ import annotations

from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

from fastapi import Request

from ketacast_service.errors import ProblemError
from ketacast_service.incoming import body_parts

MULTIPART: Final = frozenset({b"multipart/form-data"})
MOST_FIELDS: Final = 32


async def read_form(request: Request, most: int, seconds: float) -> Mapping[str, str]:
    """Read a posted form.

    Parameters
    ----------
    request : Request
        Its body is not read yet.
    most : int
        Bytes.
    seconds : float
        Longest wait for the next part.

    Raises
    ------
    ProblemError
        "too-large", "too-slow", or "malformed-request" if it is no form.
    """
    parts = [part async for part in body_parts(request.receive, most, seconds)]
    return parse_form(request.headers.get("content-type", ""), b"".join(parts))


def parse_form(content_type: str, body: bytes) -> Mapping[str, str]:
    """Take a form's fields apart; an empty file counts as not given.

    Raises
    ------
    ProblemError
        "malformed-request" if it is no form, or has too many fields.
    """
    if "\r" in content_type or "\n" in content_type:
        raise _malformed("its header is broken over lines")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    parts = message.get_payload()
    if not isinstance(parts, list) or len(parts) > MOST_FIELDS:
        raise _malformed("it has no fields, or too many")
    found: dict[str, str] = {}
    for part in parts:
        if isinstance(part, str):
            raise _malformed("a part of it is no field")
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes):
            raise _malformed("a field has no name or no value")
        try:
            found.setdefault(name, payload.decode("utf-8"))
        except UnicodeDecodeError:
            raise _malformed(f"{name[:40]!r} is not UTF-8 text") from None
    return found


def _malformed(why: str) -> ProblemError:
    return ProblemError(
        "malformed-request", f"the form cannot be read: {why}; send multipart/form-data"
    )
