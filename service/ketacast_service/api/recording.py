"""Every answer has its record before it is sent."""

from __future__ import annotations

import json
from typing import Any

import structlog

from ketacast_service.audit import Entry, Record
from ketacast_service.calls import Call
from ketacast_service.errors import ProblemError, StoreDownError
from ketacast_service.models import Answer
from ketacast_service.moments import new_id, utc_text
from ketacast_service.observability import UNRECORDED
from ketacast_service.state import Service

_LOG = structlog.get_logger(__name__)


async def record(
    service: Service, call: Call, kind: str, answer: Answer
) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Record an answer and wait until the record is durable.

    Returns
    -------
    id : str
        The record's identifier.
    headers : list of (bytes, bytes)
        Empty, or that the answer is not recorded where the settings allow that.

    Raises
    ------
    ProblemError
        "unavailable" if the record cannot be kept and the settings demand it.
    """
    identifier = new_id()
    entry = Entry(
        id=identifier,
        time=utc_text(),
        kind=kind,
        client=call.client.id,
        model_sha256=service.predictor.model.sha256,
        request_id=call.request_id,
        input=answer.input,
        output_sha256=answer.sha256,
        output=answer.body,
    )
    try:
        await service.trail.append(entry)
    except StoreDownError as error:
        if service.settings.audit_required:
            raise _unavailable() from error
        UNRECORDED.inc()
        _LOG.warning("answered without a record", request_id=call.request_id, reason=str(error))
        return identifier, [(b"x-audit", b"not-recorded")]
    return identifier, []


async def find_record(service: Service, identifier: str) -> Record | None:
    """Find a record.

    Raises
    ------
    ProblemError
        "unavailable" if the store cannot be read.
    """
    try:
        return await service.trail.find(identifier)
    except StoreDownError as error:
        raise _unavailable() from error


def shown_record(found: Record) -> dict[str, Any]:
    """Return a record as it is shown to its client."""
    is_piece = found.kind == "batch"
    return {
        "id": found.id,
        "time": found.time,
        "kind": found.kind,
        "model_sha256": found.model_sha256,
        "request_id": found.request_id,
        "input": json.loads(found.input.partition(b"\n")[0]),
        "output": None if is_piece or not found.output else json.loads(found.output),
        "output_sha256": found.output_sha256,
    }


def _unavailable() -> ProblemError:
    return ProblemError(
        "unavailable",
        "the record of the answer cannot be kept or read now, so nothing is answered; ask again "
        "in a moment, and tell the operator if it goes on",
        headers=(("Retry-After", "2"),),
    )
