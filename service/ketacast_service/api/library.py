"""``/v1/model`` and ``/v1/evidence``: what the numbers rest on."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from ketacast.card import CardFormat, load_card, render_card, source_attributes
from ketacast.evidence import Evidence, load_evidence
from ketacast.evidence.records import RecordedOutcome
from ketacast_service.accepting import best_of
from ketacast_service.api.documents import problems
from ketacast_service.calls import Reply, to_response
from ketacast_service.errors import ProblemError
from ketacast_service.models import as_json

if TYPE_CHECKING:
    from ketacast_service.state import Service

EvidenceTable = Literal[
    "cohorts", "outcomes", "contrasts", "early_change", "relapse", "published_syntheses"
]
_CARDS: Final[dict[str, CardFormat]] = {
    "application/json": "json",
    "text/html": "html",
    "text/markdown": "md",
    "application/xml": "chai-xml",
}
_SHOWN_PARTS: Final = (
    "schema_version", "sha256", "model", "evidence", "recipe", "coding", "support",
    "coefficients", "covariance",
)  # fmt: skip


def model_document(service: Service) -> dict[str, Any]:
    """Return what the model is: identity, coefficients, basis, support."""
    content = service.predictor.artifact.content
    return {part: content[part] for part in _SHOWN_PARTS if part in content}


@lru_cache(maxsize=8)
def _card(directory: Path, form: CardFormat) -> bytes:
    return render_card(load_card(directory), form).encode()


@lru_cache(maxsize=2)
def _evidence(directory: Path) -> Evidence:
    return load_evidence(directory / "evidence")


def evidence_rows(
    evidence: Evidence,
    table: EvidenceTable,
    cohort: str | None,
    outcome: RecordedOutcome | None,
    *,
    in_model: bool | None,
) -> list[dict[str, Any]]:
    """Return the rows of one table that fit the filters.

    A table without outcomes is filtered by the cohorts that report one.

    Raises
    ------
    ProblemError
        "not-found" if there is no such cohort.
    """
    rows = [asdict(record) for record in evidence.records(table)]
    if cohort is not None:
        if cohort not in {known.cohort_id for known in evidence.cohorts}:
            raise ProblemError(
                "not-found",
                f"no cohort {cohort!r}; /v1/evidence?table=cohorts lists every cohort_id",
            )
        rows = [row for row in rows if row.get("cohort_id") == cohort]
    if outcome is not None:
        reporting = {row.cohort_id for row in evidence.outcomes if row.outcome == outcome}
        rows = [
            row
            for row in rows
            if (
                row["outcome"] == outcome if "outcome" in row else row.get("cohort_id") in reporting
            )
        ]
    if in_model is None:
        return rows
    used = {row.cohort_id for row in evidence.outcomes if row.model_use}
    if rows and "model_use" in rows[0]:
        return [row for row in rows if bool(row["model_use"]) is in_model]
    return [row for row in rows if (row.get("cohort_id") in used) is in_model]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as CSV with a header; a cell that a spreadsheet would run is quoted."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["model and evidence"])
    for add in (_add_model, _add_card, _add_attributes, _add_evidence):
        add(routes, service)
    return routes


def _add_model(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/model",
        summary="The model that answers",
        operation_id="model",
        response_model=None,
        responses={
            200: _json_object("Identity, coefficients, basis and support"),
            **problems(401, 403, 429),
        },
    )
    async def model() -> Response:
        """Give version and hash, coefficients with their covariance, and what is supported."""
        return to_response(Reply(as_json(model_document(service))))


def _add_card(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/model/card",
        summary="The model card",
        operation_id="modelCard",
        response_model=None,
        responses={
            200: {
                "description": "The card, in the format that is accepted",
                "content": {
                    kind: {"schema": {"type": "object" if kind == "application/json" else "string"}}
                    for kind in _CARDS
                },
            },
            **problems(401, 403, 406, 429),
        },
    )
    async def card(request: Request) -> Response:
        """Give the card as JSON, HTML, Markdown or CHAI XML, as the Accept header asks."""
        kind = best_of(request.headers.get("accept"), tuple(_CARDS))
        body = _card(service.predictor.artifact.directory, _CARDS[kind])
        charset = "" if kind == "application/json" else "; charset=utf-8"
        return to_response(Reply(body, headers=[(b"content-type", f"{kind}{charset}".encode())]))


def _add_attributes(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/model/source-attributes",
        summary="The 31 source attributes",
        operation_id="sourceAttributes",
        response_model=None,
        responses={
            200: _json_object("Each a value, or why it is not available"),
            **problems(401, 403, 429),
        },
    )
    async def attributes() -> Response:
        """Give the source attributes of a predictive decision support intervention."""
        return to_response(
            Reply(as_json(source_attributes(load_card(service.predictor.artifact.directory))))
        )


def _add_evidence(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/evidence",
        summary="The evidence",
        operation_id="evidence",
        response_model=None,
        responses={
            200: {
                "description": "The rows that fit",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/EvidenceAnswer"}},
                    "text/csv": {"schema": {"type": "string"}},
                },
            },
            **problems(401, 403, 404, 422, 429),
        },
    )
    async def evidence(
        table: Annotated[EvidenceTable, Query(description="which table")] = "cohorts",
        form: Annotated[
            Literal["json", "csv"], Query(alias="format", description="JSON or CSV")
        ] = "json",
        cohort: Annotated[
            str | None, Query(max_length=80, description="only rows of this cohort_id")
        ] = None,
        outcome: Annotated[
            RecordedOutcome | None,
            Query(description="only rows of this outcome, or of cohorts that report it"),
        ] = None,
        in_model: Annotated[
            bool | None, Query(description="only rows that the model uses, or does not")
        ] = None,
    ) -> Response:
        """Give a table of the published evidence, each row with its source."""
        found = _evidence(service.predictor.artifact.directory)
        rows = evidence_rows(found, table, cohort, outcome, in_model=in_model)
        if form == "csv":
            name = f"{table}.csv"
            kept = [
                (b"content-type", b"text/csv; charset=utf-8"),
                (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            ]
            return to_response(Reply(as_csv(rows), headers=kept))
        document = {"table": table, "sha256": found.sha256, "rows": rows}
        return to_response(Reply(as_json(document)))


def _json_object(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
