"""What may go wrong between a client and the service.

Neither error keeps the request or its headers: an error may be printed, logged or
sent to a collector without showing the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ketacast.errors import KetacastError


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that the service refused.

    Attributes
    ----------
    field : str
        JSON pointer into the request, for example ``/infusions``.
    detail : str
        What is wrong.
    remedy : str
        How to mend it.
    """

    field: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.field}: " if self.field else ""
        return f"{place}{self.detail}; {self.remedy}" if self.remedy else f"{place}{self.detail}"


class ServiceAnswerError(KetacastError):
    """The service refused, failed, or answered something that is not an answer.

    Parameters
    ----------
    detail : str
        What is wrong and how to mend it.
    status : int
        HTTP status; 200 where the answer cannot be used although none was refused.
    type : str
        Kind of problem, ``urn:ketacast:problem:<slug>``; ``about:blank`` (RFC 9457)
        where whoever answered named none.
    title : str
        The kind in words.
    errors : sequence of FieldFault
        The fields that were refused.
    request_id : str
        For the service's operator, who finds the request by it.
    retry_after : float or None
        Seconds after which the service may answer again, where it said so.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        type: str = "about:blank",  # noqa: A002  # the name of RFC 9457
        title: str = "",
        errors: Sequence[FieldFault] = (),
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.type = type
        self.title = title
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(self._text())

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes hand errors back by pickling, which knows no keyword arguments.
        kept = ("status", "type", "title", "errors", "request_id", "retry_after")
        given = {name: getattr(self, name) for name in kept}
        return partial(ServiceAnswerError, self.detail, **given), ()

    @property
    def slug(self) -> str:
        """Last part of ``type``, for example ``invalid-input``."""
        return self.type.rpartition(":")[2]

    def _text(self) -> str:
        head = f"{self.status} {self.title}".strip()
        text = f"{head}: {self.detail}" if self.detail else head
        # A single fault is usually the whole of the detail; it is not said twice.
        faults = [str(fault) for fault in self.errors if fault.detail not in self.detail]
        lines = "".join(f"\n  {fault}" for fault in faults)
        return f"{text}{lines}\n  request {self.request_id}" if self.request_id else text + lines


class ConnectionFailedError(KetacastError, ConnectionError):
    """No complete answer came.

    Parameters
    ----------
    message : str
        What failed and how to mend it.
    may_be_recorded : bool
        Whether the service may have taken the request all the same: it is false only
        where nothing was sent, or where the request changes and records nothing.
    request_id : str
        By which the service's log and records show whether it did.
    """

    def __init__(self, message: str, *, may_be_recorded: bool, request_id: str) -> None:
        self.may_be_recorded = may_be_recorded
        self.request_id = request_id
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(
            ConnectionFailedError,
            str(self),
            may_be_recorded=self.may_be_recorded,
            request_id=self.request_id,
        )
        return again, ()
