"""API keys: their form, and a copy of the table in memory that requests are checked with.

A key reads ``kc_<id>_<secret>``: 64 random bits that name it and 256 that prove it. The
table keeps HMAC-SHA256 under the server's secret, so that neither a copy of the database
nor the server's secret alone lets anybody make or check a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ketacast_service.calls import Client
from ketacast_service.errors import StoreDownError
from ketacast_service.security.key_table import KeyRow, read_rows
from ketacast_service.security.refusal import NotReadyError, RefusedError

PREFIX: Final = b"kc_"
KEY_LENGTH: Final = 3 + 16 + 1 + 64
STALE_SECONDS: Final = 60.0
"""How long the last copy of the table serves beyond the refresh interval while the database
is away: it outlasts a restart or failover, and bounds how late a revocation counts."""
_LONGEST_WAIT: Final = 1.0
"""Seconds that a request with an unknown id waits for the early refresh."""
_FORM: Final = re.compile(rb"kc_([0-9a-f]{16})_([0-9a-f]{64})")
_NOBODY: Final = "0" * 64

_log = logging.getLogger(__name__)


def new_key() -> tuple[str, str]:
    """Return the id and the whole text of a new key."""
    key_id = secrets.token_hex(8)
    return key_id, f"kc_{key_id}_{secrets.token_hex(32)}"


def key_mac(server_secret: bytes, key_id: bytes, secret: bytes) -> str:
    """Return what the table keeps of a key: HMAC-SHA256 of id and secret."""
    return hmac.digest(server_secret, key_id + secret, "sha256").hex()


def mac_of(server_secret: bytes, key: str) -> str:
    """Return what the table keeps of a key given as a whole.

    Raises
    ------
    RefusedError
        If the text is no key.
    """
    found = _FORM.fullmatch(key.encode())
    if found is None:
        raise RefusedError("key-malformed")
    return key_mac(server_secret, found[1], found[2])


class _Snapshot:
    """The table as read at one moment, and which keys have been verified against it."""

    __slots__ = ("by_id", "rows", "verified")

    def __init__(self, rows: tuple[KeyRow, ...]) -> None:
        self.rows = rows
        self.by_id: Mapping[bytes, KeyRow] = {row.id.encode(): row for row in rows}
        # At most one entry per key: only the one text that is the key gets in.
        self.verified: dict[bytes, tuple[Client, float]] = {}


class KeyStore:
    """API keys, checked in memory.

    The table is read in the background every ``refresh_seconds`` in a thread of its own;
    no request reads it on the event loop. A revoked key is therefore refused within
    that interval in every worker, an expired one at once. An unknown id may be a key
    that was made a moment ago, so it causes one early reading per interval. While the
    database is away the last copy serves for ``refresh_seconds + stale_seconds``, then
    every key is refused as "unavailable".

    Parameters
    ----------
    engine : Engine
        The service's database.
    secret : bytes
        The server's secret.
    refresh_seconds : float
        Time between two readings.
    stale_seconds : float
        How much longer the last copy serves without a database.
    """

    def __init__(
        self,
        engine: Engine,
        secret: bytes,
        refresh_seconds: float,
        *,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._engine = engine
        self._secret = secret
        self._refresh_seconds = refresh_seconds
        self._lifetime = refresh_seconds + stale_seconds
        self._snapshot = _Snapshot(())
        self._good_until = float("-inf")
        self._last_early = float("-inf")
        self._loop_task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_down = False

    @property
    def is_ready(self) -> bool:
        """Whether keys can be checked now."""
        return time.monotonic() <= self._good_until

    async def start(self) -> None:
        """Read the table and keep reading it; a database that is away is waited for."""
        await self._read()
        self._loop_task = asyncio.create_task(self._keep_reading(), name="api-keys")

    async def close(self) -> None:
        """Stop reading."""
        tasks = [task for task in (self._loop_task, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._loop_task = self._reading = None

    def quick(self, digest: bytes) -> Client | None:
        """Return who presented a key that was verified before; None sends it to :meth:`check`.

        Parameters
        ----------
        digest : bytes
            SHA-256 of the key as presented.
        """
        found = self._snapshot.verified.get(digest)
        if found is None or time.time() >= found[1] or time.monotonic() > self._good_until:
            return None
        return found[0]

    async def check(self, key: bytes) -> Client:
        """Return who presented a key.

        Raises
        ------
        RefusedError
            If the key does not count.
        NotReadyError
            If the table has not been read for too long.
        """
        found = _FORM.fullmatch(key)
        if found is None:
            raise RefusedError("key-malformed")
        if not self.is_ready or found[1] not in self._snapshot.by_id:
            await self._read_early()
        if not self.is_ready:
            raise NotReadyError("keys-not-read")
        return self._verify(key, found[1], found[2])

    def _verify(self, key: bytes, key_id: bytes, secret: bytes) -> Client:
        snapshot = self._snapshot
        row = snapshot.by_id.get(key_id)
        # An unknown id costs the same digest and comparison as a known one.
        mac = key_mac(self._secret, key_id, secret)
        fits = hmac.compare_digest(mac, _NOBODY if row is None else row.mac)
        if row is None:
            raise RefusedError("key-unknown")
        if not fits:
            raise RefusedError("key-wrong-secret")
        if row.is_revoked:
            raise RefusedError("key-revoked")
        if time.time() >= row.expires:
            raise RefusedError("key-expired")
        client = Client(f"key:{row.id}", row.scopes)
        snapshot.verified[sha256(key).digest()] = (client, row.expires)
        return client

    async def _keep_reading(self) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, started + self._refresh_seconds - time.monotonic()))
            started = time.monotonic()
            await self._read()

    async def _read_early(self) -> None:
        """Read the table now, once per interval; those who come meanwhile wait for it too."""
        now = time.monotonic()
        if self._reading is None or self._reading.done():
            if now - self._last_early < self._refresh_seconds:
                return
            self._last_early = now
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._begin()), _LONGEST_WAIT)

    async def _read(self) -> None:
        """Read the table, or wait for the reading that is under way."""
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        """Start a reading unless one is under way."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_once(), name="api-keys-read")
        return self._reading

    async def _read_once(self) -> None:
        # The copy is as old as the moment the reading began, not when it ended.
        started = time.monotonic()
        try:
            rows = await asyncio.to_thread(read_rows, self._engine)
        except (StoreDownError, SQLAlchemyError) as error:
            if not self._is_down:
                _log.warning(
                    "API keys cannot be read (%s); the last copy serves for %.0f s more",
                    error.__class__.__name__,
                    max(0.0, self._good_until - started),
                )
            self._is_down = True
            return
        if self._is_down:
            _log.info("API keys are read again")
        self._is_down = False
        if rows != self._snapshot.rows:
            self._snapshot = _Snapshot(rows)
        self._good_until = started + self._lifetime
