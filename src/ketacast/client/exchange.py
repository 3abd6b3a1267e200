"""One request and its answer, without a network: what to send, when to wait, what it means.

The clients only carry out the steps that :func:`exchange` asks for, so the blocking and
the asynchronous one cannot differ in what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ketacast.client.errors import FieldFault, ServiceAnswerError
from ketacast.errors import InputError

T = TypeVar("T")

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
ARROW: Final = "application/vnd.apache.arrow.stream"

BUSY: Final = frozenset({429, 503})
"""With these the service says that it cannot answer now."""

LIMITED: Final = frozenset({429})
"""With this it did not even look at the request, whatever the request was."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 8.0
"""Seconds; back-off doubles from the first to the longest."""

LONGEST_DETAIL: Final = 500
"""Characters of somebody else's words that an error repeats."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    Attributes
    ----------
    method, path : str
        Of HTTP; the path starts with a slash.
    query : tuple of (str, str)
        Parameters.
    body : bytes or None
        With `content_type`.
    accept : str
        The format asked for.
    records : bool
        Whether the service writes something down when it takes the request.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    records: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes
    ----------
    status : int
        Of HTTP.
    headers : mapping of str to str
        Names in lower case.
    body : bytes
        Complete.
    request_id : str
        As the service gave it, or as it was sent.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str = ""

    @property
    def media_type(self) -> str:
        """Content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request and how its answer is read.

    Attributes
    ----------
    request : Request
        What to send.
    read : callable
        From the answer to a value; raises :class:`InputError` if it cannot be used.
    expected : tuple of int
        The statuses that `read` takes.
    again : frozenset of int
        The statuses after which the same may be asked again without harm.
    """

    request: Request
    read: Callable[[Answer], T]
    expected: tuple[int, ...] = (200,)
    again: frozenset[int] = BUSY


@dataclass(frozen=True, slots=True)
class Send:
    """Step: send the request and give back its answer."""

    request: Request


@dataclass(frozen=True, slots=True)
class Wait:
    """Step: wait, then go on with None."""

    seconds: float


Steps: TypeAlias = Generator["Send | Wait", Answer | None, T]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client asks again when the service is busy (429, 503).

    Attributes
    ----------
    retries : int
        Further attempts, at most.
    longest : float
        Seconds from the first attempt after which none begins.
    """

    retries: int
    longest: float

    def pause(self, attempt: int, retry_after: float | None, share: float) -> float:
        """Return the seconds to wait before the next attempt.

        Full jitter: a random share of a doubling, capped back-off, so that many clients
        do not come back together; never before the service allows it.
        """
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)
        return (retry_after or 0.0) + share * backoff


def exchange(
    operation: Operation[T],
    patience: Patience,
    clock: Callable[[], float],
    share: Callable[[], float],
) -> Steps[T]:
    """Ask, ask again while the service is busy, and read the answer.

    Parameters
    ----------
    operation : Operation
        What to ask.
    patience : Patience
        How often and how long.
    clock : callable
        Seconds, never going back.
    share : callable
        A random number from 0 to 1.

    Yields
    ------
    Send or Wait

    Raises
    ------
    ServiceAnswerError
        If the service refuses, fails or answers something else than was asked.
    """
    began = clock()
    attempt = 0
    while True:
        answer = yield Send(operation.request)
        assert answer is not None  # noqa: S101  # the protocol of Send
        if answer.status not in operation.again or attempt >= patience.retries:
            break
        pause = patience.pause(attempt, retry_after(answer), share())
        if clock() - began + pause > patience.longest:
            break
        yield Wait(pause)
        attempt += 1
    if answer.status not in operation.expected:
        raise refusal(answer, attempt + 1)
    try:
        return operation.read(answer)
    except InputError as error:
        raise ServiceAnswerError(
            f"the answer cannot be used: {error}",
            status=answer.status,
            title="Unusable answer",
            request_id=answer.request_id,
        ) from error


def retry_after(answer: Answer) -> float | None:
    """Return the seconds of Retry-After, given as seconds or as a date; None without it."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def load_json(answer: Answer) -> Any:
    """Read an answer's JSON.

    Raises
    ------
    InputError
        If it is of another type, damaged, or holds NaN or an infinity.
    """
    if answer.media_type != JSON:
        kind = answer.media_type or "of no type"
        raise InputError(
            f"it is {kind}, not {JSON}; check that base_url is the service's and no proxy, "
            "login page or other server answers there"
        )
    try:
        return json.loads(answer.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"it is not complete JSON ({error}); ask the service's operator with the request's id"
        ) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


@dataclass(frozen=True, slots=True)
class _Problem:
    """What of a problem document could be read."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    request_id: str = ""
    errors: tuple[FieldFault, ...] = field(default=())


def refusal(answer: Answer, attempts: int = 1) -> ServiceAnswerError:
    """Return the error that an answer of another status than expected amounts to."""
    problem = _problem(answer)
    detail = problem.detail or _plain_detail(answer)
    if attempts > 1:
        detail += f" (asked {attempts} times)"
    return ServiceAnswerError(
        detail,
        status=answer.status,
        type=problem.type,
        title=problem.title,
        errors=problem.errors,
        request_id=problem.request_id or answer.request_id,
        retry_after=retry_after(answer),
    )


def _plain_detail(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "")[:LONGEST_DETAIL]
        return (
            f"it points to {place!r}; redirects are not followed, so that inputs and token "
            "go nowhere else: give the final address as base_url"
        )
    kind = answer.media_type or "no type"
    return (
        f"the answer is no problem document ({kind}, {len(answer.body)} bytes); check base_url "
        "and what stands between, such as a proxy, then the service's log"
    )


def _problem(answer: Answer) -> _Problem:
    if answer.media_type != PROBLEM:
        return _Problem()
    try:
        found = json.loads(answer.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _Problem()
    if not isinstance(found, dict):
        return _Problem()
    entries = found.get("errors")
    faults = entries if isinstance(entries, list) else []
    return _Problem(
        type=_text(found, "type") or "about:blank",
        title=_text(found, "title"),
        detail=_text(found, "detail"),
        request_id=_text(found, "request_id"),
        errors=tuple(
            FieldFault(_text(fault, "field"), _text(fault, "detail"), _text(fault, "remedy"))
            for fault in faults
            if isinstance(fault, dict)
        ),
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value[:LONGEST_DETAIL] if isinstance(value, str) else ""
