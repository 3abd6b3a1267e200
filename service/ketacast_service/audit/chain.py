"""What a record is, and the hash that ties it to the one before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

FIRST_HASH: Final = "0" * 64
"""Stands for the record before the first."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


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


def link_hash(*fields: object) -> str:
    """Return SHA-256 of the ten fields as compact JSON in ASCII."""
    return sha256(_encode(fields).encode("ascii")).hexdigest()
