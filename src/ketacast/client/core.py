"""What both clients share: where the service is, who asks, how answers are taken in."""

from __future__ import annotations

import ipaddress
import math
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from ketacast.client.errors import ConnectionFailedError
from ketacast.client.exchange import Answer, Operation, Patience, Request, Steps, exchange
from ketacast.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

TOKEN_VARIABLE: Final = "KETACAST_TOKEN"  # noqa: S105  # the variable's name

LARGEST_ANSWER: Final = 1 << 30
"""Bytes; a million rows with four levels are about half of it."""

MOST_RETRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Core:
    """Settings of a client, checked.

    Attributes
    ----------
    base_url : str
        Without a slash at the end.
    token : str or None
        Never shown.
    timeout : float
        Seconds for one attempt, its answer included.
    patience : Patience
        How long to ask again while the service is busy.
    is_loopback : bool
        Whether the service is on this machine.
    """

    base_url: str
    token: str | None = field(repr=False)
    timeout: float
    patience: Patience
    is_loopback: bool

    def exchange(self, operation: Operation[T]) -> Steps[T]:
        """Return the steps of one operation."""
        return exchange(operation, self.patience, time.monotonic, random.random)

    def headers(self, request: Request, request_id: str) -> dict[str, str]:
        """Return what to send along, the token included."""
        found = {
            "accept": f"{request.accept}, application/problem+json;q=0.9",
            "user-agent": "ketacast-client",
            "x-request-id": request_id,
        }
        if request.body is not None:
            found["content-type"] = request.content_type
        if self.token is not None:
            found["authorization"] = f"Bearer {self.token}"
        return found

    def arguments(self, request: Request, request_id: str) -> dict[str, Any]:
        """Return the arguments with which httpx streams the answer."""
        return {
            "method": request.method,
            "url": self.base_url + request.path,
            "params": list(request.query) or None,
            "content": request.body,
            "headers": self.headers(request, request_id),
        }

    def options(self, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
        """Return the arguments of httpx's clients."""
        return {
            "timeout": self.timeout,
            "follow_redirects": False,
            # A proxy of the environment cannot reach this machine's loopback interface.
            "trust_env": not self.is_loopback,
            "verify": True if ssl_context is None else ssl_context,
        }


def new_request_id() -> str:
    """Return an id that the service will log and record a request by."""
    return uuid4().hex


def checked(
    base_url: str,
    token: str | None,
    timeout: float,
    retries: int,
    longest_wait: float,
    *,
    allow_plain_http: bool,
) -> Core:
    """Check the settings of a client.

    Raises
    ------
    InputError
        If one cannot be used. A token is never part of the message.
    """
    host, is_plain = _place(base_url)
    given = os.environ.get(TOKEN_VARIABLE) if token is None else token
    usable = _token(given)
    is_loopback = _is_loopback(host)
    if usable is not None and is_plain and not is_loopback and not allow_plain_http:
        raise InputError(
            f"base_url is {base_url!r}: over http the token can be read on the way; use https, "
            "or allow_plain_http=True inside a network that only you use"
        )
    if (
        isinstance(retries, bool)
        or not isinstance(retries, int)
        or not 0 <= retries <= MOST_RETRIES
    ):
        raise InputError(f"retries is {retries!r}; give a whole number from 0 to {MOST_RETRIES}")
    patience = Patience(retries, _seconds("longest_wait", longest_wait))
    return Core(base_url.rstrip("/"), usable, _seconds("timeout", timeout), patience, is_loopback)


def _place(base_url: str) -> tuple[str, bool]:
    """Host, and whether the scheme is http."""
    remedy = "give an address such as 'https://ketacast.example.org'"
    if not isinstance(base_url, str):
        raise InputError(f"base_url is {base_url!r}; {remedy}")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"base_url cannot be read ({error}); {remedy}") from None
    if "@" in parts.netloc:
        raise InputError("base_url holds a name or password; give them as token instead")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise InputError(f"base_url is {base_url!r}; {remedy}")
    return host, parts.scheme == "http"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not given.isascii() or not given.isprintable():
        kind = "not printable ASCII text"
    elif not given or " " in given:
        kind = "empty" if not given else "text with blanks"
    else:
        return given
    raise InputError(
        f"the token is {kind} (it is not shown); give the key or JWT itself, without 'Bearer' or "
        f"a line end, as token or in {TOKEN_VARIABLE}"
    )


def _seconds(name: str, value: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value <= 0:
        raise InputError(f"{name} is {value!r}; give a number of seconds above 0")
    return float(value)


def import_httpx() -> ModuleType:
    """Import httpx.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import httpx  # noqa: PLC0415  # only who asks a service needs it
    except ImportError as error:
        raise MissingDependencyError(
            "the client needs httpx, which is not installed; pip install 'ketacast[client]'"
        ) from error
    return httpx


class Taking:
    """Takes one answer in, within its time and size, and turns httpx's errors into ours.

    Theirs hold the request with its token. So ours is raised by :meth:`answer`, when theirs
    is no longer being handled: it keeps no reference to it, and no collector of errors sees it.

    Parameters
    ----------
    request : Request
        For messages.
    request_id : str
        As sent.
    timeout : float
        Seconds from now.
    """

    def __init__(self, request: Request, request_id: str, timeout: float) -> None:
        self._request = request
        self._request_id = request_id
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._failure: ConnectionFailedError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        reason = None if error is None else _reason(error, self._timeout)
        if reason is None:
            return False
        words, was_sent = reason
        self._failure = failure(self._request, self._request_id, words, sent=was_sent)
        return True

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take status and headers."""
        self._status = status
        self._headers = {name.lower(): value for name, value in headers.items()}

    def add(self, part: bytes) -> None:
        """Take a part of the body.

        Raises
        ------
        ConnectionFailedError
            If it is too late or too much.
        """
        self._size += len(part)
        self._parts.append(part)
        if time.monotonic() > self._end:
            raise failure(self._request, self._request_id, _late(self._timeout))
        if self._size > LARGEST_ANSWER:
            raise failure(
                self._request, self._request_id, f"the answer is over {LARGEST_ANSWER} bytes"
            )

    def answer(self) -> Answer:
        """Return the whole answer.

        Raises
        ------
        ConnectionFailedError
            If it did not come whole.
        """
        if self._failure is not None:
            raise self._failure
        given = self._headers.get("x-request-id", "") or self._request_id
        return Answer(self._status, self._headers, b"".join(self._parts), given[:128])


def _late(timeout: float) -> str:
    return f"no complete answer came within {timeout:g} s (raise timeout if that is too short)"


def failure(
    request: Request, request_id: str, reason: str, *, sent: bool = True
) -> ConnectionFailedError:
    """Return the error that says what failed and whether the request may have been taken."""
    may_be_recorded = sent and request.records
    if not sent:
        advice = "nothing was sent; check base_url, the network and that the service runs"
    elif may_be_recorded:
        advice = (
            "the service may have taken and recorded the request all the same, so it was not "
            f"sent again: look for request {request_id} in its records before you repeat it"
        )
    else:
        advice = "the request changes nothing, so it can be repeated"
    return ConnectionFailedError(
        f"{request.method} {request.path}: {reason}; {advice}",
        may_be_recorded=may_be_recorded,
        request_id=request_id,
    )


def _reason(error: BaseException, timeout: float) -> tuple[str, bool] | None:
    """Why no answer came and whether the request was sent; None if the error is not httpx's."""
    httpx = import_httpx()
    if isinstance(
        error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    ):
        return f"no connection ({_words(error)})", False
    if isinstance(error, httpx.TimeoutException):
        return _late(timeout), True
    if isinstance(error, (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)):
        return f"the connection broke ({type(error).__name__})", True
    return None


def _words(error: BaseException) -> str:
    """Name and reason: those of a failed connection come from system or TLS, not from headers."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
