"""``POST /v1/predictions/batch``: many rows at once, in three formats.

The body is read whole before the answer begins, because many clients read nothing until
they have sent everything. The answer goes out piece by piece, each once it is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from ketacast.errors import InputError
from ketacast.predictor import DEFAULT_LEVELS, checked_levels
from ketacast_service.api.batch import LineStream, Piece, answer_columns
from ketacast_service.api.documents import problems
from ketacast_service.api.recording import record
from ketacast_service.calls import Call, call_of
from ketacast_service.errors import FieldProblem, ProblemError
from ketacast_service.incoming import body_parts
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.observability import PREDICTIONS
from ketacast_service.validation import problem_from

if TYPE_CHECKING:
    from ketacast_service.api.batch.arrow import ArrowStream
    from ketacast_service.state import Service

COLUMNS: Final = b"application/json"
LINES: Final = b"application/x-ndjson"
ARROW: Final = b"application/vnd.apache.arrow.stream"
MEDIA: Final = frozenset({COLUMNS, LINES, ARROW})
FEED_BYTES: Final = 1 << 20
MOST_AT_ONCE: Final = 4
"""Batches held in memory at a time; each may take the size of its body and some pieces."""
KEPT_ROWS: Final = 65_536
"""Up to here a document of columns is made once, beyond it twice rather than held whole."""
_LEVEL: Final = r"0?\.(50*|80*|90*|950*)"
_LEVELS: Final = f"^{_LEVEL}(,{_LEVEL}){{0,15}}$"
_ROWS: Final = PREDICTIONS.labels("row")


class Batches:
    """Answers batches, a few at a time.

    Parameters
    ----------
    service : Service
        What answering needs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running = 0

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Answer a batch.

        Raises
        ------
        ProblemError
            Before anything was sent; afterwards the answer ends early instead.
        """
        if self._running >= MOST_AT_ONCE:
            raise ProblemError(
                "unavailable",
                f"{self._running} batches are being answered; send this one again in a moment",
                headers=(("Retry-After", "2"),),
            )
        self._running += 1
        try:
            await self._answer(call, receive, send)
        finally:
            self._running -= 1

    async def _answer(self, call: Call, receive: Receive, send: Send) -> None:
        settings = self._service.settings
        limits = settings.max_batch_bytes, settings.body_timeout_seconds
        body = b"".join([part async for part in body_parts(receive, *limits)])
        kind = (call.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind == COLUMNS:
            await self._columns(call, body, send)
        else:
            levels = _levels(call.query)
            await self._pieces(call, kind, self._stream(kind, body, levels), send)

    async def _columns(self, call: Call, body: bytes, send: Send) -> None:
        service = self._service
        rows = service.settings.max_batch_rows
        found = await service.work.run(answer_columns, body, service.predictor, rows)
        kept = found.rows <= KEPT_ROWS
        parts, sha256, size = await service.work.run(_digested, found.parts(), kept=kept)
        shown = _summary(sha256, size, found.rows, found.refused)
        identifier, headers = await record(service, call, "batch", _answer(found.record, shown))
        location = (b"location", f"/v1/predictions/{identifier}".encode())
        await _start(send, COLUMNS, [location, *headers])
        if kept:
            await _part(send, parts[0], more=False)
        else:
            parts_again = iter(found.parts())
            while (part := await service.work.run(next, parts_again, None)) is not None:
                await _part(send, part)
            await _part(send, b"", more=False)
        _ROWS.inc(found.rows - found.refused)

    async def _pieces(self, call: Call, kind: bytes, pieces: Iterator[Piece], send: Send) -> None:
        service = self._service
        has_begun = False
        while True:
            try:
                piece = await service.work.run(next, pieces, None)
            except ProblemError as problem:
                if not has_begun or kind != LINES:
                    raise
                # The answer has begun: its last line says why it ends without a summary.
                await _part(send, b'{"problem":' + problem.document(call.request_id) + b"}\n")
                break
            if piece is None:
                break
            sha256 = await service.work.run(digest, piece.output)
            shown = _summary(sha256, len(piece.output), piece.rows, piece.refused)
            _, headers = await record(service, call, "batch", _answer(piece.record, shown))
            if not has_begun:
                await _start(send, kind, headers)
                has_begun = True
            await _part(send, piece.output)
            _ROWS.inc(piece.rows - piece.refused)
        await _part(send, b"", more=False)

    def _stream(self, kind: bytes, body: bytes, levels: Sequence[float]) -> Iterator[Piece]:
        settings, predictor = self._service.settings, self._service.predictor
        rows = settings.max_batch_rows
        if kind == LINES:
            return _fed(LineStream(predictor, levels, max_rows=rows), body)
        from ketacast_service.api.batch.arrow import ArrowStream  # noqa: PLC0415  # pyarrow

        most = settings.max_batch_bytes
        return _fed(ArrowStream(predictor, levels, max_rows=rows, max_bytes=most), body)


def _fed(stream: LineStream | ArrowStream, body: bytes) -> Iterator[Piece]:
    for begin in range(0, len(body), FEED_BYTES):
        yield from stream.feed(body[begin : begin + FEED_BYTES])
    yield from stream.finish()


def _digested(parts: Iterable[bytes | memoryview], *, kept: bool) -> tuple[list[bytes], str, int]:
    """Digest a document's parts; join and keep them if they are few."""
    found = hashlib.sha256()
    size = 0
    if kept:
        whole = b"".join(parts)
        found.update(whole)
        return [whole], found.hexdigest(), len(whole)
    for part in parts:
        found.update(part)
        size += len(part)
    return [], found.hexdigest(), size


def _summary(sha256: str, size: int, rows: int, refused: int) -> bytes:
    """Return what is recorded of an answer that its inputs and the model give again."""
    return as_json({"sent_sha256": sha256, "bytes": size, "rows": rows, "refused": refused})


def _answer(asked: bytes, shown: bytes) -> Answer:
    return Answer(asked, shown, digest(shown))


async def _start(send: Send, kind: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    found = [(b"content-type", kind), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": found})


async def _part(send: Send, part: bytes | memoryview, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": bytes(part), "more_body": more})


def _levels(query: bytes) -> tuple[float, ...]:
    """Read the levels of a batch that is no document of its own."""
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("levels")
    if not given:
        return DEFAULT_LEVELS
    try:
        return checked_levels([float(word) for word in given[-1].split(",")])
    except InputError as error:
        raise problem_from(error) from error
    except ValueError:
        problem = FieldProblem("/levels", "is no list of numbers", "give it as 0.8,0.95")
        raise ProblemError(
            "invalid-input", "levels is no list of numbers; give it as 0.8,0.95", [problem]
        ) from None


_REQUEST: Final = {
    "required": True,
    "content": {
        COLUMNS.decode(): {
            "schema": {"$ref": "#/components/schemas/BatchColumns"},
            "example": {
                "failed_trials": [2, 6, 12],
                "infusions": 6,
                "rated_by": ["self", "self", "clinician"],
            },
        },
        LINES.decode(): {
            "schema": {"type": "string"},
            "example": '{"failed_trials":6,"infusions":6,"rated_by":"self"}\n',
        },
        ARROW.decode(): {"schema": {"type": "string", "format": "binary"}},
    },
}


def router(service: Service) -> APIRouter:
    """Return the route; the gate leaves the body to it."""
    routes = APIRouter(tags=["predictions"])
    answer_batch = Batches(service)
    service.later.append(_load_arrow)

    @routes.post(
        "/v1/predictions/batch",
        summary="Predict for many patients",
        operation_id="predictBatch",
        response_model=None,
        openapi_extra={"requestBody": _REQUEST},
        responses={
            200: {
                "description": "Answers in the format of the request, bad rows reported by row",
                "content": {
                    COLUMNS.decode(): {"schema": {"$ref": "#/components/schemas/BatchAnswer"}},
                    LINES.decode(): {"schema": {"type": "string"}},
                    ARROW.decode(): {"schema": {"type": "string", "format": "binary"}},
                },
            },
            **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    )
    async def post(
        request: Request,
        levels: Annotated[  # noqa: ARG001  # read by the route itself
            str | None,
            Query(
                description="levels for NDJSON and Arrow, of 0.5, 0.8, 0.9 and 0.95, as 0.8,0.95",
                pattern=_LEVELS,
            ),
        ] = None,
    ) -> Response:
        """Answer up to a million rows; each row is an answer or an error."""
        return _Streamed(answer_batch, request)

    return routes


def _load_arrow() -> None:
    """Load pyarrow before the first stream asks for it."""
    import_module("ketacast_service.api.batch.arrow")


class _Streamed(Response):
    """A response that is made while it is sent."""

    def __init__(self, batches: Batches, request: Request) -> None:
        super().__init__()
        self._batches = batches
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the body has not been read yet."""
        call = call_of(self._request)
        call.query = scope["query_string"]
        await self._batches.answer(call, receive, send)
