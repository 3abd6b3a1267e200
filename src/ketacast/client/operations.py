"""What can be asked of the service: each a request and the reading of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from ketacast.client.answers import Record, ServedClinic, ServedPrediction
from ketacast.client.asking import Asked, ClinicGiven, ask, identifier, post
from ketacast.client.documents import Reading, model_id, notice, prediction_from_dict
from ketacast.client.exchange import LIMITED, Answer, Operation, Request, load_json
from ketacast.errors import InputError
from ketacast.options import check_choice

CardText = Literal["html", "markdown"]
Repeated = Literal["refuse", "add"]
Filter: TypeAlias = "str | int | bool"

_CARD_MEDIA: Final[Mapping[str, str]] = {"html": "text/html", "markdown": "text/markdown"}


def predict(
    failed_trials: int | Sequence[int],
    infusions: int,
    rated_by: str,
    *,
    levels: Sequence[float] | None,
    so_far: str,
    clinic: ClinicGiven | None,
) -> Operation[ServedPrediction]:
    """Ask for one patient."""
    asked = ask(failed_trials, infusions, rated_by, levels=levels, so_far=so_far, clinic=clinic)
    return Operation(asked.request, lambda answer: _served(asked, answer))


def _served(asked: Asked, answer: Answer) -> ServedPrediction:
    found = load_json(answer)
    prediction = asked.check(prediction_from_dict(found))
    return ServedPrediction(
        identifier("id", Reading(found).text("id")),
        prediction,
        answer.request_id,
        recorded=answer.headers.get("x-audit", "") != "not-recorded",
    )


def recall(given: str) -> Operation[Record]:
    """Ask what was answered before."""
    one = identifier("id", given)

    def read(answer: Answer) -> Record:
        found = Reading(load_json(answer))
        if found.text("id") != one:
            raise InputError(f"it is record {found.text('id')}, asked was {one}; do not use it")
        kept = found.raw("output")
        return Record(
            id=one,
            time=found.text("time"),
            kind=found.text("kind"),
            model_sha256=found.text("model_sha256"),
            request_id=found.text("request_id"),
            input=found.mapping("input"),
            output=None if kept is None else found.mapping("output"),
        )

    return Operation(Request("GET", f"/v1/predictions/{one}"), read)


def document(path: str) -> Operation[dict[str, Any]]:
    """Ask for a JSON object that is passed on as it is."""

    def read(answer: Answer) -> dict[str, Any]:
        found = load_json(answer)
        if not isinstance(found, dict):
            raise InputError(f"it is a {type(found).__name__}, not an object; check base_url")
        return found

    return Operation(Request("GET", path), read)


def card_text(form: CardText) -> Operation[str]:
    """Ask for the model card for people."""
    check_choice("form", form, _CARD_MEDIA)
    media = _CARD_MEDIA[form]

    def read(answer: Answer) -> str:
        if answer.media_type != media:
            raise InputError(f"it is {answer.media_type or 'of no type'}, not {media}")
        return _decoded(answer)

    return Operation(Request("GET", "/v1/model/card", accept=media), read)


def evidence(table: str, filters: Mapping[str, Filter]) -> Operation[list[dict[str, Any]]]:
    """Ask for rows of a table of the evidence."""
    given = {name: _parameter(name, value) for name, value in filters.items()}
    query = (("table", _parameter("table", table)), ("format", "json"), *given.items())

    def read(answer: Answer) -> list[dict[str, Any]]:
        found = Reading(load_json(answer))
        if found.text("table") != table:
            raise InputError(f"it is the table {found.text('table')!r}, asked was {table!r}")
        rows = found.items("rows")
        if not all(isinstance(row, dict) for row in rows):
            raise InputError("its rows are no objects; check base_url")
        return rows

    return Operation(Request("GET", "/v1/evidence", query), read)


def _parameter(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InputError(f"{name} is {value!r}; give text, a whole number, or true or false")


def create_clinic(label: str) -> Operation[ServedClinic]:
    """Make a clinic."""
    # Not again after 503: a clinic may have been made whose record could not be kept.
    request = post("/v1/clinics", {"label": label})
    return Operation(request, _read_clinic, expected=(201,), again=LIMITED)


def add_outcomes(
    clinic: str, batches: Sequence[Mapping[str, Any]], repeated: Repeated
) -> Operation[ServedClinic]:
    """Add counts to a clinic."""
    one = identifier("clinic", clinic)
    given = [dict(batch) for batch in batches]
    request = post(f"/v1/clinics/{one}/outcomes", {"batches": given, "repeated": repeated})
    # Not again after 503: counts that were taken would be added twice.
    return Operation(request, lambda answer: _same_clinic(answer, one), again=LIMITED)


def clinic(given: str) -> Operation[ServedClinic]:
    """Ask what is known of a clinic."""
    one = identifier("clinic", given)
    request = Request("GET", f"/v1/clinics/{one}")
    return Operation(request, lambda answer: _same_clinic(answer, one))


def clinic_profile(given: str) -> Operation[bytes]:
    """Ask for a clinic's profile, byte for byte: its digest is of these bytes."""
    one = identifier("clinic", given)

    def read(answer: Answer) -> bytes:
        Reading(load_json(answer)).text("sha256")
        return answer.body

    return Operation(Request("GET", f"/v1/clinics/{one}/profile"), read)


def _same_clinic(answer: Answer, one: str) -> ServedClinic:
    found = _read_clinic(answer)
    if found.id != one:
        raise InputError(f"it is clinic {found.id}, asked was {one}; do not use it")
    return found


def _read_clinic(answer: Answer) -> ServedClinic:
    found = Reading(load_json(answer))
    return ServedClinic(
        id=identifier("id", found.text("id")),
        label=found.text("label"),
        sha256=found.text("sha256"),
        n=found.whole("n"),
        method=found.text("method"),
        model=model_id(found.inner("model")),
        created=found.text("created"),
        updated=found.text("updated"),
        batches=tuple(map(str, found.items("batches"))) if "batches" in found else (),
        warnings=found.each("warnings", notice) if "warnings" in found else (),
    )


def readiness() -> Operation[bool]:
    """Ask whether predictions can be answered; once, for who asks wants to know now."""

    def read(answer: Answer) -> bool:
        return answer.status == 200 and Reading(load_json(answer)).raw("ready") is True

    return Operation(Request("GET", "/readyz"), read, expected=(200, 503), again=frozenset())


def _decoded(answer: Answer) -> str:
    try:
        return answer.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None


__all__ = [
    "CardText", "Filter", "Repeated", "add_outcomes", "card_text", "clinic", "clinic_profile",
    "create_clinic", "document", "evidence", "predict", "readiness", "recall",
]  # fmt: skip
