"""What a record is, and the hash that ties it to the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _quote
from typing import Final, NamedTuple

FIRST_HASH: Final = "0" * 64
"""Stands for the record before the first."""


class Entry(NamedTuple):
    """One answer to be recorded; a tuple, because one is made for every request.

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
    """One stored answer: an entry, its place in the chain and its hash.

    `output` is None where the database has lost it.
    """

    seq: int
    id: str
    time: str
    kind: str
    client: str
    model_sha256: str
    request_id: str
    input: bytes
    output_sha256: str
    output: bytes | None
    hash: str


def record_hash(previous: str, seq: int, entry: Entry | Record) -> str:
    """Return the hash of a record that follows one with hash `previous`.

    It is SHA-256 of a compact JSON array in ASCII, put together here as
    ``json.dumps(fields, separators=(",", ":"))`` would, in half the time; a test compares them.
    """
    fields = (
        f"[{_quote(previous)},{seq:d},{_quote(entry.id)},{_quote(entry.time)},"
        f"{_quote(entry.kind)},{_quote(entry.client)},{_quote(entry.model_sha256)},"
        f"{_quote(entry.request_id)},{_quote(sha256(entry.input).hexdigest())},"
        f"{_quote(entry.output_sha256)}]"
    )
    return sha256(fields.encode("ascii")).hexdigest()
