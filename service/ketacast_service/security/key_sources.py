"""Where an issuer's public keys come from: a file or an address, kept in memory."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from ketacast_service.errors import ServiceError
from ketacast_service.security.jwks import LONGEST_SET, KeySet, read_key_set
from ketacast_service.security.refusal import NotReadyError

URL_SECONDS: Final = 300.0
"""A key withdrawn at the issuer stops counting within this time and that of cached tokens."""
FILE_SECONDS: Final = 10.0
STALE_SECONDS: Final = 3600.0
"""How long the last keys serve while the issuer is away: an outage of an hour passes unseen,
a key withdrawn meanwhile does not count for longer."""
UNKNOWN_SECONDS: Final = 60.0
"""At most one extra reading per minute, whatever ids of keys callers make up."""
FETCH_SECONDS: Final = 5.0
LONGEST_BACK_OFF: Final = 60.0

Fetch = Callable[[], Awaitable[bytes]]

_log = logging.getLogger(__name__)


class KeySource:
    """The keys of one issuer, read when needed and kept.

    Parameters
    ----------
    fetch : callable
        Returns the JWK Set's text.
    name : str
        For the log.
    refresh_seconds : float
        Age from which keys are read again, in the background.
    stale_seconds : float
        Age from which keys are no longer used.
    unknown_seconds : float
        Time between two readings caused by unknown ids of keys.
    clock : callable
        Seconds of a clock that never goes back.
    release : callable, optional
        Called by :meth:`close`.
    """

    def __init__(
        self,
        fetch: Fetch,
        name: str,
        *,
        refresh_seconds: float,
        stale_seconds: float = STALE_SECONDS,
        unknown_seconds: float = UNKNOWN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        release: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._name = name
        self._refresh_seconds = refresh_seconds
        self._stale_seconds = stale_seconds
        self._unknown_seconds = unknown_seconds
        self._clock = clock
        self._release = release
        self._keys: KeySet | None = None
        self._read_at = float("-inf")
        self._failures = 0
        self._next_try = float("-inf")
        self._last_unknown = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there are keys that are not too old."""
        return self._keys is not None and self._clock() - self._read_at <= self._stale_seconds

    async def current(self) -> KeySet:
        """Return the keys, reading them if there are none or they are too old.

        Raises
        ------
        NotReadyError
            If there are none.
        """
        if not self.is_ready:
            await self._read()
        elif self._clock() - self._read_at > self._refresh_seconds:
            self._begin()
        if self._keys is None or not self.is_ready:
            raise NotReadyError("issuer-keys-not-read")
        return self._keys

    async def renewed(self) -> KeySet:
        """Return the keys read anew, for an id that is not among them; once per interval.

        Raises
        ------
        NotReadyError
            If there are none.
        """
        if self._clock() - self._last_unknown >= self._unknown_seconds:
            self._last_unknown = self._clock()
            await self._read()
        elif self._task is not None:
            await asyncio.shield(self._task)
        return await self.current()

    async def read_ahead(self) -> None:
        """Read the keys before they are needed; a failure is logged and tried again later."""
        await self._read()

    async def close(self) -> None:
        """Stop reading and let go of connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._release is not None:
            await self._release()

    async def _read(self) -> None:
        task = self._begin()
        if task is not None:
            await asyncio.shield(task)  # the reading outlives a caller who gave up

    def _begin(self) -> asyncio.Task[None] | None:
        """Start reading unless one is under way or the last failure is too recent."""
        if self._task is None or self._task.done():
            if self._clock() < self._next_try:
                return None
            self._task = asyncio.create_task(self._read_once(), name="issuer-keys")
        return self._task

    async def _read_once(self) -> None:
        try:
            keys = read_key_set(await self._fetch())
        except (ServiceError, OSError, httpx.HTTPError, TimeoutError) as error:
            self._failures += 1
            wait = min(LONGEST_BACK_OFF, 2.0 ** min(self._failures, 10))
            self._next_try = self._clock() + wait
            said = str(error) if isinstance(error, ServiceError) else error.__class__.__name__
            _log.warning("keys of %s cannot be read (%s)", self._name, said)
            return
        self._keys, self._read_at = keys, self._clock()
        self._failures, self._next_try = 0, float("-inf")


def file_source(path: Path, *, clock: Callable[[], float] = time.monotonic) -> KeySource:
    """Read an issuer's keys from a file, again every ten seconds while tokens come in."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(_read_file, path)

    return KeySource(fetch, str(path), refresh_seconds=FILE_SECONDS, clock=clock)


def url_source(
    url: str,
    hosts: Collection[str],
    *,
    clock: Callable[[], float] = time.monotonic,
    seconds: float = FETCH_SECONDS,
) -> KeySource:
    """Read an issuer's keys from an address.

    Redirects are not followed, the answer's size and time are limited, and only HTTPS
    (or loopback) to a listed host is called. The operator's proxy and certificate
    settings (``HTTPS_PROXY``, ``SSL_CERT_FILE``) apply.

    Parameters
    ----------
    url : str
        Of the JWK Set.
    hosts : collection of str
        Hosts that may be called.
    clock : callable
        Seconds of a clock that never goes back.
    seconds : float
        Longest time of one reading, connection and all.

    Raises
    ------
    ServiceError
        If the address is not allowed.
    """
    fault = url_fault(url, hosts)
    if fault is not None:
        raise ServiceError(fault)
    held: list[httpx.AsyncClient] = []

    async def fetch() -> bytes:
        if not held:
            held.append(httpx.AsyncClient(follow_redirects=False, timeout=seconds))
        async with asyncio.timeout(seconds):
            return await _download(held[0], url)

    async def release() -> None:
        while held:
            await held.pop().aclose()

    return KeySource(fetch, url, refresh_seconds=URL_SECONDS, clock=clock, release=release)


def url_fault(url: str, hosts: Collection[str]) -> str | None:
    """Return what is wrong with an address of keys and how to mend it; None if nothing is."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the address of a key set is malformed; give https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return "the address of a key set holds a user name or password; leave them out"
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts)):
        return f"the address of a key set, {url}, is not https; give an https address"
    host = parts.hostname
    if host is None or host not in {name.lower() for name in hosts}:
        return (
            f"the host of the key set's address {url} is not in jwt_jwks_hosts; "
            "add it if it is your issuer's"
        )
    return None


async def _download(client: httpx.AsyncClient, url: str) -> bytes:
    # Unencoded, so that a small answer cannot unpack to a large one.
    headers = {"Accept": "application/jwk-set+json, application/json",
               "Accept-Encoding": "identity"}  # fmt: skip
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(f"status {answer.status_code} instead of 200")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise ServiceError("the answer is compressed although that was not asked for")
        found = bytearray()
        async for part in answer.aiter_raw():
            found += part
            if len(found) > LONGEST_SET:
                raise ServiceError(f"the answer is larger than {LONGEST_SET} bytes")
    return bytes(found)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_SET + 1)


def _is_loopback(parts: SplitResult) -> bool:
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
