"""Records as lines of JSON, and back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Generator
from contextlib import closing
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection

from ketacast_service.audit.chain import Record
from ketacast_service.audit.store import linked_records
from ketacast_service.errors import ServiceError
from ketacast_service.schema import audit_record

_TEXTS: Final = (
    "id",
    "time",
    "kind",
    "client",
    "model_sha256",
    "request_id",
    "output_sha256",
    "hash",
    "prev_hash",
)


def export_lines(
    connection: Connection,
    *,
    since: str | None = None,
    until: str | None = None,
    client: str | None = None,
) -> Generator[str, None, None]:
    """Yield records as JSON, one line each without its end, in the chain's order.

    Close it if it is left early.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    since, until : str, optional
        UTC as records have it; from `since` on, before `until`.
    client : str, optional
        Only that client's records.
    """
    column = audit_record.c
    conditions: list[ColumnElement[bool]] = []
    if since is not None:
        conditions.append(column.time >= since)
    if until is not None:
        conditions.append(column.time < until)
    if client is not None:
        conditions.append(column.client == client)
    with closing(linked_records(connection, conditions)) as records:
        for previous, record in records:
            yield write_line(previous, record)


def write_line(previous: str, record: Record) -> str:
    """Return a record as one line of JSON.

    An input or output is written as JSON. Where its own bytes differ from that JSON in compact
    form, they follow as ``input_text``; what is not JSON is ``input_base64`` instead.
    """
    return _compact(
        {
            "seq": record.seq,
            "id": record.id,
            "time": record.time,
            "kind": record.kind,
            "client": record.client,
            "model_sha256": record.model_sha256,
            "request_id": record.request_id,
            **_content("input", record.input),
            "input_sha256": sha256(record.input).hexdigest(),
            **({"output": None} if record.output is None else _content("output", record.output)),
            "output_sha256": record.output_sha256,
            "prev_hash": previous,
            "hash": record.hash,
        },
        ascii_only=True,
    )


def read_line(line: str) -> tuple[str, Record]:
    """Return the hash of the record before, and the record.

    Raises
    ------
    ServiceError
        If the line is no record, or an input or output does not have its digest.
    """
    try:
        found = json.loads(line)
        seq = found["seq"]
        texts = {name: found[name] for name in _TEXTS}
        contents = {name: _bytes(name, found) for name in ("input", "output")}
        digests = {name: found[f"{name}_sha256"] for name in contents}
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise ServiceError(f"it is no record of an export ({error})") from error
    if type(seq) is not int or not all(isinstance(text, str) for text in texts.values()):
        raise ServiceError("it is no record of an export (a value has another type)")
    for name, content in contents.items():
        if sha256(content).hexdigest() != digests[name]:
            raise ServiceError(f"the {name} of record {seq} was changed")
    previous = texts.pop("prev_hash")
    record = Record(seq=seq, **texts, input=contents["input"], output=contents["output"])
    return previous, record


def _content(name: str, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(text)
        is_compact = _compact(value, ascii_only=False) == text
    except (ValueError, RecursionError):  # no JSON, or with NaN or an infinity
        return {f"{name}_base64": base64.b64encode(raw).decode("ascii")}
    return {name: value} if is_compact else {name: value, f"{name}_text": text}


def _bytes(name: str, found: dict[str, Any]) -> bytes:
    encoded = found.get(f"{name}_base64")
    if encoded is not None:
        raw = base64.b64decode(encoded, validate=True)
        if base64.b64encode(raw).decode("ascii") != encoded:  # its last bits may stand for nothing
            raise ValueError(f"{name}_base64 is not in its only form")
        return raw
    text = found.get(f"{name}_text")
    if text is None:
        return _compact(found[name], ascii_only=False).encode("utf-8")
    if _compact(json.loads(text), ascii_only=True) != _compact(found[name], ascii_only=True):
        raise ValueError(f"{name} differs from {name}_text")
    return bytes(text, "utf-8")


def _compact(value: Any, *, ascii_only: bool) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only, allow_nan=False)
