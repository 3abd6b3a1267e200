"""Each token once: remember the ids (``jti``) of tokens until they expire.

Access tokens of OAuth 2 are meant to be used again, so nothing here touches them. CDS
Hooks clients make a token for each call, and one seen twice was copied on its way.

One process may use :class:`ReplayCache`. Several workers do not share memory: a copied
token would count once in each of them. Then :class:`SharedReplayCache` lets the database
decide, by the primary key of a table: of several workers that insert the same id at the
same moment, exactly one succeeds. It costs a write per call.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine, Table, delete, insert
from sqlalchemy.exc import IntegrityError

from ketacast_service.database import writing
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.tokens import Verified

CAPACITY: Final = 100_000
"""Ids kept for each issuer, some 20 MB: 27 calls a second with tokens of one hour."""
PURGE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Seen:
    digests: set[bytes] = field(default_factory=set)
    by_expiry: list[tuple[float, bytes]] = field(default_factory=list)


class ReplayCache:
    """Ids of tokens seen by this process.

    When an issuer's share is full of ids that have not expired, its further tokens are
    refused for now: to forget one early would let it be used again. Issuers do not
    share, so that one cannot fill the place of another.

    Parameters
    ----------
    leeway : float
        Seconds that tokens count beyond their ``exp``; at least that of the verifier.
    capacity : int
        Ids kept for each issuer.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        leeway: float,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leeway = leeway
        self._capacity = capacity
        self._clock = clock
        self._issuers: dict[str, _Seen] = {}

    def use(self, token: Verified) -> None:
        """Let a verified token count, this once.

        Raises
        ------
        RefusedError
            If it was used before or has no id.
        NotReadyError
            If no more ids can be kept now.
        """
        digest = _digest(token)
        seen = self._issuers.setdefault(token.issuer, _Seen())
        now = self._clock()
        while seen.by_expiry and seen.by_expiry[0][0] < now:
            seen.digests.discard(heapq.heappop(seen.by_expiry)[1])
        if digest in seen.digests:
            raise RefusedError("replayed")
        if len(seen.digests) >= self._capacity:
            raise NotReadyError("replay-cache-full")
        seen.digests.add(digest)
        heapq.heappush(seen.by_expiry, (token.expires + self._leeway, digest))


class SharedReplayCache:
    """Ids of tokens seen by any worker, in the database.

    ``use`` waits for the database: call it in a thread. Without a database no token
    counts, for a copied one could not be told from a fresh one.

    Parameters
    ----------
    engine : Engine
        The service's database.
    table : Table
        Made by :func:`ketacast_service.schema.replay_table`.
    leeway : float
        Seconds that tokens count beyond their ``exp``; at least that of the verifier.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        engine: Engine,
        table: Table,
        leeway: float,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._table = table
        self._leeway = leeway
        self._clock = clock
        self._next_purge = float("-inf")

    def use(self, token: Verified) -> None:
        """Let a verified token count, this once in all workers.

        Raises
        ------
        RefusedError
            If it was used before or has no id.
        StoreDownError
            If the database does not answer.
        """
        # Rounded up to whole seconds: an id is never forgotten before its token expires.
        until = int(token.expires + self._leeway) + 1
        row = {"digest": _digest(token).hex(), "expires": until}
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                if now >= self._next_purge:
                    connection.execute(delete(self._table).where(self._table.c.expires < now))
                connection.execute(insert(self._table).values(**row))
        except IntegrityError:
            raise RefusedError("replayed") from None
        if now >= self._next_purge:
            self._next_purge = now + PURGE_SECONDS


def _digest(token: Verified) -> bytes:
    if not token.jti:
        raise RefusedError("jti-missing")
    # Two issuers may choose the same id; no character of a text separates them for sure,
    # a digest of fixed length does.
    return sha256(sha256(token.issuer.encode()).digest() + token.jti.encode()).digest()
