"""What a record is, and the hash that ties it to the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _quote
from typing import Final

FIRST_HASH: Final = "0" * 64
"""Stands for the record before the first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer to be recorded.

    Attributes
    ----------
    id : str
        Identifier of the answer, unique.
    time : str
        UTC, as :func:`ketacast_service.moments.utc_text` writes it.
    kind : str
        What was asked for, for example ``prediction`` or ``batch``.
    client : str
        Who asked.
    model_sha256 : str
        Digest of the model; empty where none took part.
    request_id : str
        Identifier of the request.
    input : bytes
        What was asked, usually JSON in UTF-8.
    output_sha256 : str
        SHA-256 of `output`, hexadecimal.
    output : bytes
        What was answered.
    """

    id: str
    time: str
    kind: str
    client: str
    model_sha256: str
    request_id: str
    input: bytes
    output_sha256: str
    output: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One stored answer: an entry, its place in the chain and its hash."""

    seq: int
    id: str
    time: str
    kind: str
    client: str
    model_sha256: str
    request_id: str
    input: bytes
    output_sha256: str
    output: bytes
    hash: str


def record_hash(previous: str, seq: int, entry: Entry | Record) -> str:
    """Return the hash of a record that follows one with hash `previous`."""
    return link_hash(
        previous,
        seq,
        entry.id,
        entry.time,
        entry.kind,
        entry.client,
        entry.model_sha256,
        entry.request_id,
        sha256(entry.input).hexdigest(),
        entry.output_sha256,
    )


def link_hash(
    previous: str,
    seq: int,
    id: str,  # noqa: A002
    time: str,
    kind: str,
    client: str,
    model_sha256: str,
    request_id: str,
    input_sha256: str,
    output_sha256: str,
) -> str:
    """Return SHA-256 of the ten fields as a compact JSON array in ASCII.

    The array is put together here as ``json.dumps(fields, separators=(",", ":"))`` would,
    in half the time; a test compares them.
    """
    text = (
        f"[{_quote(previous)},{seq:d},{_quote(id)},{_quote(time)},{_quote(kind)},"
        f"{_quote(client)},{_quote(model_sha256)},{_quote(request_id)},"
        f"{_quote(input_sha256)},{_quote(output_sha256)}]"
    )
    return sha256(text.encode("ascii")).hexdigest()
