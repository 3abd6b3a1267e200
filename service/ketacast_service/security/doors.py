"""Which authenticator a path has: the usual one, or that of its kind of client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ketacast_service.calls import Client


class Door(Protocol):
    """Tells who sends a request."""

    def quick(self, headers: Sequence[tuple[bytes, bytes]]) -> Client | None:
        """Return who it is if that is known already; None to be asked properly."""

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Client:
        """Return who it is, or raise a problem."""


class Doors:
    """Authenticators by path.

    Parameters
    ----------
    usual : Door
        For every path that has no other.
    others : mapping of str to callable
        By the beginning of paths: makes the authenticator of a path.
    """

    __slots__ = ("_others", "_usual")

    def __init__(self, usual: Door, others: Mapping[str, Callable[[str], Door]]) -> None:
        self._usual = usual
        self._others = tuple(others.items())

    def at(self, path: str) -> Door:
        """Return the authenticator of a path."""
        for prefix, make in self._others:
            if path.startswith(prefix):
                return make(path)
        return self._usual
