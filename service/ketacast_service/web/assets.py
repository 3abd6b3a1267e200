"""Files of the page under addresses that hold their digest, compressed once."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_KINDS: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
FOREVER: Final = b"public, max-age=31536000, immutable"
PREFIX: Final = "/page/static/"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes
    ----------
    address : str
        With the digest of its content: what is kept by browsers never goes stale.
    kind : bytes
        Media type.
    body, packed : bytes
        As it is, and compressed.
    """

    address: str
    kind: bytes
    body: bytes
    packed: bytes


def load_assets() -> Mapping[str, Asset]:
    """Read every file of the page, by name."""
    found = {}
    for source in sorted((files(__package__) / "static").iterdir(), key=lambda one: one.name):
        stem, point, suffix = source.name.rpartition(".")
        kind = _KINDS.get(point + suffix)
        if kind is None:
            continue
        body = source.read_bytes()
        mark = hashlib.sha256(body).hexdigest()[:12]
        address = f"{PREFIX}{stem}.{mark}.{suffix}"
        found[source.name] = Asset(address, kind, body, pack(body))
    return found


def pack(body: bytes) -> bytes:
    """Compress; the same bytes give the same."""
    return gzip.compress(body, 6, mtime=0)


def takes_gzip(accept: bytes | None) -> bool:
    """Whether a client takes compressed bodies."""
    if accept is None:
        return False
    parts = [part.strip().replace(b" ", b"") for part in accept.lower().split(b",")]
    return b"gzip" in parts or any(
        part.startswith(b"gzip;q=") and part != b"gzip;q=0" for part in parts
    )
