"""What became of a card: recorded without any text or identifier of the client's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import UUID

from ketacast_service.api.recording import record
from ketacast_service.calls import Call, Reply
from ketacast_service.cds_hooks.cards import OVERRIDE_REASONS, REASON_SYSTEM
from ketacast_service.cds_hooks.discovery import HookService
from ketacast_service.cds_hooks.requests import read_json_object
from ketacast_service.errors import ProblemError
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.state import Service

KIND: Final = "cds-feedback"
MOST: Final = 100
"""Entries of one call; a client has a handful of cards open."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_EMPTY: Final = b"{}"


async def take_feedback(service: Service, hook: HookService, call: Call) -> Reply:
    """Record feedback on cards.

    Raises
    ------
    ProblemError
        "malformed-request" if an entry breaks the rules; then none is recorded.
    """
    entries = read_json_object(call.body).get("feedback")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        _refuse(f"feedback is missing or no array of 1 to {MOST} entries; give one per card")
    for kept in [_kept(entry, hook) for entry in entries]:
        await record(service, call, KIND, Answer(as_json(kept), _EMPTY, digest(_EMPTY)))
    return Reply(b"", 200, [])


def _kept(entry: object, hook: HookService) -> dict[str, Any]:
    """Check an entry and return what is kept of it."""
    if not isinstance(entry, dict):
        _refuse("an entry of feedback is no object; give card, outcome and outcomeTimestamp")
    outcome = entry.get("outcome")
    if outcome not in ("accepted", "overridden"):
        _refuse("outcome is neither 'accepted' nor 'overridden'; give one of them")
    _check_time(entry.get("outcomeTimestamp"))
    kept = {"service": hook.id, "card": _card(entry.get("card")), "outcome": outcome}
    if outcome == "accepted":
        _check_accepted(entry.get("acceptedSuggestions"))
        return kept
    reason = entry.get("overrideReason")
    if reason is None:
        return kept
    if not isinstance(reason, dict):
        _refuse("overrideReason is no object; give reason, userComment or both")
    # A comment may name a patient: that there was one is all that is kept.
    return {**kept, "reason": _reason(reason.get("reason")), "comment": "userComment" in reason}


def _card(value: object) -> str:
    try:
        return str(UUID(value if isinstance(value, str) else ""))
    except ValueError:
        _refuse("card is no UUID; give the uuid of the card")


def _check_time(value: object) -> None:
    is_time = isinstance(value, str) and _TIME.fullmatch(value) is not None
    if is_time:
        try:
            datetime.fromisoformat(str(value))
        except ValueError:
            is_time = False
    if not is_time:
        _refuse("outcomeTimestamp is no moment; give one such as 2026-11-23T07:10:00Z")


def _check_accepted(value: object) -> None:
    named = value if isinstance(value, list) else []
    if not named or not all(isinstance(part, dict) and _is_text(part.get("id")) for part in named):
        _refuse("acceptedSuggestions is missing beside 'accepted'; list the id of each suggestion")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _reason(value: object) -> str:
    """Return one of our codes; of all others only that it was another."""
    if not isinstance(value, Mapping):
        return "none"
    code = value.get("code")
    is_ours = value.get("system") == REASON_SYSTEM and isinstance(code, str)
    return str(code) if is_ours and code in OVERRIDE_REASONS else "other"


def _refuse(detail: str) -> NoReturn:
    raise ProblemError("malformed-request", detail)
