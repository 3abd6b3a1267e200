"""From a call to its cards: course in play, chart, count, prediction, record, card."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from ketacast.history import ChartRater, HistoryCount, count_failed_trials, rater_from_chart
from ketacast.history.fhir import mapping, text
from ketacast.history.records import short_name
from ketacast_service.api.predictions import find_answer
from ketacast_service.api.recording import record
from ketacast_service.api.requests import PredictionRequest, TrialsRange
from ketacast_service.calls import JSON, Call, Reply
from ketacast_service.cds_hooks import wording
from ketacast_service.cds_hooks.cards import CardMaker, Outlook
from ketacast_service.cds_hooks.chart import (
    Gathered,
    complete,
    require,
    require_history,
    sent_along,
)
from ketacast_service.cds_hooks.discovery import HookService
from ketacast_service.cds_hooks.fhir_reader import FhirReader
from ketacast_service.cds_hooks.notes import ESKETAMINE, NO_DATA, NOT_NOW, UNDER_18, Note
from ketacast_service.cds_hooks.orders import Planned, planned_infusions
from ketacast_service.cds_hooks.requests import HookCall, read_call
from ketacast_service.cds_hooks.triggers import (
    InPlay,
    active_courses,
    order_names,
    orders_in_play,
)
from ketacast_service.errors import ProblemError
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.observability import PREDICTIONS
from ketacast_service.state import Service

KIND: Final = "cds"
INLINE_BYTES: Final = 48 << 10
"""Calls beyond it are read and counted in a thread: there it would hold up the others."""

_ANSWERED: Final = PREDICTIONS.labels("cds")
_NO_CARDS: Final = b'{"cards":[]}'

P = ParamSpec("P")
T = TypeVar("T")


class Counted(NamedTuple):
    """What a chart says."""

    trials: HistoryCount
    rater: ChartRater


class Made(NamedTuple):
    """A card whose record is kept, and headers if it could not be."""

    card: dict[str, Any]
    headers: list[tuple[bytes, bytes]]


class HookAnswerer:
    """Answers the calls of one service.

    Parameters
    ----------
    service : Service
        What the worker holds.
    hook : HookService
        The service that is called.
    reader : FhirReader
        Reads clients' FHIR servers.
    cards : CardMaker
        Writes cards.
    today : callable
        The date of counting (UTC).
    """

    def __init__(
        self,
        service: Service,
        hook: HookService,
        reader: FhirReader,
        cards: CardMaker,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._service = service
        self._hook = hook
        self._reader = reader
        self._cards = cards
        self._today = today

    async def answer(self, call: Call) -> Reply:
        """Answer a call, once what is answered is recorded.

        Raises
        ------
        ProblemError
            "malformed-request", "data-missing" or "unavailable".
        """
        begun = asyncio.get_running_loop().time()
        is_large = len(call.body) > INLINE_BYTES
        hook_call = await self._run(is_large, read_call, call.body, self._hook)
        if not hook_call.is_for_clinician:
            return Reply(_NO_CARDS)
        found = await self._run(is_large, sent_along, hook_call)
        found.begun = begun
        in_play = await self._in_play(hook_call, found, is_large=is_large)
        if not in_play:
            return Reply(_NO_CARDS)
        for course in in_play:
            _check_subject(course, hook_call.patient_id)
        made = [
            await self._note(call, ESKETAMINE)
            if course.agent == "esketamine"
            else await self._ketamine(call, hook_call, found, course)
            for course in in_play
        ]
        headers = [header for one in made for header in one.headers]
        return Reply(as_json({"cards": [one.card for one in made]}), headers=[JSON, *headers[:1]])

    async def _in_play(
        self, call: HookCall, found: Gathered, *, is_large: bool
    ) -> tuple[InPlay, ...]:
        """Find the courses in play; charts without one need nothing else read."""
        if self._hook.hook != "patient-view":
            return await self._run(is_large, orders_in_play, call.orders, call.context_entries)
        if "medRequests" in found.missing:
            await complete(found, call, self._reader, ("medRequests",))
        require(found, ("medRequests",))
        requests = [*found.flat("medRequests"), *found.flat("medications")]
        return await self._run(is_large, active_courses, requests, self._today())

    async def _ketamine(
        self, call: Call, hook_call: HookCall, found: Gathered, course: InPlay
    ) -> Made:
        await complete(found, hook_call, self._reader)
        require_history(found)
        is_large = len(call.body) > INLINE_BYTES or hook_call.access is not None
        counted = await self._run(
            is_large, _counted, found, hook_call, order_names(course.orders), self._today()
        )
        planned = planned_infusions(course.orders)
        if any(flag.code == "under_18" for flag in counted.trials.flags):
            return await self._note(call, UNDER_18)
        if not counted.trials.has_data:
            note = NOT_NOW if counted.trials.eras else NO_DATA
            return await self._note(call, note, wording.seen(counted.trials, found.not_seen()))
        return await self._outlook(call, found, course, counted, planned)

    async def _outlook(
        self, call: Call, found: Gathered, course: InPlay, counted: Counted, planned: Planned
    ) -> Made:
        low, high = counted.trials.failed_trials
        request = PredictionRequest(
            failed_trials=low if low == high else TrialsRange(min=low, max=high),
            infusions=planned.infusions,
            rated_by=counted.rater.rater,
        )
        answer = await find_answer(self._service, request, call)
        asked = {
            **json.loads(answer.input),
            "hook": self._hook.hook,
            "infusions_basis": planned.basis,
            "flags": [flag.code for flag in counted.trials.flags],
            "reasons": sorted({era.reason.code for era in counted.trials.eras}),
            "not_seen": sorted(found.missing),
        }
        kept = Answer(as_json(asked), answer.body, answer.sha256)
        identifier, headers = await record(self._service, call, KIND, kept)
        _ANSWERED.inc()
        outlook = Outlook(
            json.loads(answer.body), counted.trials, planned, counted.rater, found.not_seen(),
            course.other_route,
        )  # fmt: skip
        return Made(self._cards.outlook(identifier, outlook), headers)

    async def _note(self, call: Call, note: Note, seen: Sequence[str] = ()) -> Made:
        body = as_json({"note": note.code})
        asked = as_json({"hook": self._hook.hook, "note": note.code})
        kept = Answer(asked, body, digest(body))
        identifier, headers = await record(self._service, call, KIND, kept)
        return Made(self._cards.note(identifier, note, seen), headers)

    async def _run(
        self, is_large: bool, task: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> T:
        if is_large:
            return await self._service.work.run(task, *given, **named)
        return task(*given, **named)


def _counted(found: Gathered, call: HookCall, own_orders: frozenset[str], today: date) -> Counted:
    """Count without the order itself, which is no history yet."""
    resources: Sequence[Any] = found.resources(without=own_orders)
    return Counted(
        count_failed_trials(resources, as_of=today, patient=call.patient_id),
        rater_from_chart(resources, as_of=today, patient=call.patient_id),
    )


def _check_subject(course: InPlay, patient_id: str) -> None:
    """Refuse orders that name another patient.

    Raises
    ------
    ProblemError
        "malformed-request" if the subject is another Patient than the context's.
    """
    for order in course.orders:
        reference = text(mapping(order.get("subject")).get("reference"))
        kind, _, name = short_name(reference).rpartition("/")
        if kind == "Patient" and name != patient_id:
            raise ProblemError(
                "malformed-request",
                "an order in context/draftOrders is of another patient than context/patientId; "
                "send the patient's own",
            )
