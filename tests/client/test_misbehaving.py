"""Both clients against a server that does what servers and proxies do wrong."""

from __future__ import annotations

import inspect
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from tests.client.calling import KINDS, Kind, call
from tests.client.misbehaving import (
    ID,
    Planned,
    Seen,
    misbehaving,
    prediction_document,
    problem,
    served,
)

import ketacast
from ketacast.client import AsyncClient, Client, ConnectionFailedError, ServiceAnswerError
from ketacast.errors import InputError

ASKED: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
GOOD = served(prediction_document(), X_Request_Id="of-the-service")
#: No pause: tests that retry need not wait.
NOW = {"Retry-After": "0"}


def refused(
    kind: Kind, plan: Planned, match: str | None = None, **client: Any
) -> tuple[ServiceAnswerError, list[Seen]]:
    """The error that a prediction ends with, and the requests that came."""
    with misbehaving(plan) as server, pytest.raises(ServiceAnswerError, match=match) as caught:
        call(kind, server.url, "predict", client=client, **ASKED)
    return caught.value, server.seen


pytestmark = pytest.mark.parametrize("kind", KINDS)


def test_a_good_answer_is_the_librarys_own_value(kind: Kind) -> None:
    with misbehaving(GOOD) as server:
        answer = call(kind, server.url, "predict", **ASKED)
    assert answer.prediction == ketacast.predict(**ASKED)
    assert (answer.id, answer.request_id, answer.recorded) == (ID, "of-the-service", True)
    assert str(answer) == str(answer.prediction)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/predictions")
    assert seen.document == ASKED
    assert seen.headers["content-type"] == "application/json"
    assert len(seen.headers["x-request-id"]) == 32


def test_an_answer_without_a_record_says_so(kind: Kind) -> None:
    with misbehaving(served(prediction_document(), X_Audit="not-recorded")) as server:
        assert call(kind, server.url, "predict", **ASKED).recorded is False


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(kind: Kind, status: int) -> None:
    busy = problem(status, "too-many-requests", "wait", Retry_After="0")
    with misbehaving(busy, busy, GOOD) as server:
        answer = call(kind, server.url, "predict", **ASKED)
    assert answer.id == ID
    assert len(server.seen) == 3
    assert len({seen.headers["x-request-id"] for seen in server.seen}) == 1
    assert len({seen.body for seen in server.seen}) == 1


def test_retry_after_is_waited_for(kind: Kind) -> None:
    with misbehaving(problem(429, "too-many-requests", "wait", Retry_After="1"), GOOD) as server:
        began = time.monotonic()
        call(kind, server.url, "predict", **ASKED)
    assert time.monotonic() - began >= 1.0


def test_retry_after_may_be_a_date(kind: Kind) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    error, seen = refused(kind, problem(503, "unavailable", "later", Retry_After=moment))
    assert len(seen) == 1  # an hour is longer than anybody wants to wait
    assert error.retry_after == pytest.approx(3600, abs=30)


def test_retries_are_bounded_by_number(kind: Kind) -> None:
    plan = problem(503, "unavailable", "later", Retry_After="0")
    _, seen = refused(kind, plan, r"503 A kind of problem: later \(asked 3", retries=2)
    assert len(seen) == 3


def test_retries_are_bounded_by_time(kind: Kind) -> None:
    with misbehaving(problem(503, "unavailable", "later", Retry_After="30")) as server:
        began = time.monotonic()
        with pytest.raises(ServiceAnswerError) as caught:
            call(kind, server.url, "predict", client={"longest_wait": 5.0}, **ASKED)
    assert time.monotonic() - began < 5
    assert len(server.seen) == 1
    assert caught.value.retry_after == 30


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 502, 504])
def test_nothing_else_is_asked_again(kind: Kind, status: int) -> None:
    error, seen = refused(kind, problem(status, "invalid-input", "infusions is 99", **NOW))
    assert len(seen) == 1
    assert (error.status, error.slug) == (status, "invalid-input")
    assert error.type == "urn:ketacast:problem:invalid-input"
    assert error.detail == "infusions is 99"
    assert error.request_id == "of-the-service"
    assert [str(fault) for fault in error.errors] == ["/infusions: is 99; give 1 to 30"]
    assert "request of-the-service" in str(error)


def test_a_clinic_is_not_written_twice(kind: Kind) -> None:
    with misbehaving(problem(503, "unavailable", "later", **NOW)) as server:
        for method, given in (("create_clinic", ["X"]), ("add_outcomes", [ID, [], "add"])):
            with pytest.raises(ServiceAnswerError):
                call(kind, server.url, method, *given)
    assert len(server.seen) == 2


HTML = b"<!doctype html><title>Sign in</title>"
WRONG = {
    "a page": (Planned(200, HTML, {"Content-Type": "text/html"}), "it is text/html"),
    "no type": (Planned(200, b"{}", {}), "it is of no type"),
    "half of it": (Planned(200, b'{"id":'), "not complete JSON"),
    "NaN": (Planned(200, b'{"id": NaN}'), "holds NaN"),
    "not UTF-8": (Planned(200, b'"\xff"'), "not complete JSON"),
    "deep": (Planned(200, b"[" * 200_000), "not complete JSON"),
    "a list": (Planned(200, b"[1]"), "the document is"),
    "nothing": (Planned(200, b""), "not complete JSON"),
    "no id": (served({**prediction_document(), "id": "x"}), "id is 'x'"),
    "another patient": (
        served({"id": ID, **ketacast.predict(**{**ASKED, "failed_trials": 5}).to_dict()}),
        "it is for .*'min': 5.*asked was .*'min': 6",
    ),
    "a clinic": (
        served(prediction_document(clinic={"label": "", "sha256": "0", "n": 1, "method": "x"})),
        "it shows a clinic, or none, other than asked",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_is_none_is_refused(kind: Kind, name: str) -> None:
    plan, message = WRONG[name]
    with misbehaving(plan) as server, pytest.raises(ServiceAnswerError, match=message) as caught:
        call(kind, server.url, "predict", **ASKED)
    assert caught.value.status == 200
    assert caught.value.request_id == server.seen[0].headers["x-request-id"]
    assert len(server.seen) == 1


def test_other_levels_are_refused(kind: Kind) -> None:
    with misbehaving(GOOD) as server, pytest.raises(ServiceAnswerError, match=r"levels 0\.8, 0\.9"):
        call(kind, server.url, "predict", levels=[0.5], **ASKED)


def test_redirects_are_not_followed(kind: Kind) -> None:
    with misbehaving(GOOD) as other:
        for status in (301, 302, 307, 308):
            plan = Planned(status, b"", {"Location": other.url + "/x"})
            refused(kind, plan, "redirects are not followed", token="kc_a_b")  # noqa: S106
    assert other.seen == []


def test_a_proxys_page_is_named(kind: Kind) -> None:
    plan = Planned(502, HTML, {"Content-Type": "text/html"})
    error, _ = refused(kind, plan, r"no problem document .text/html")
    assert (error.status, error.type) == (502, "about:blank")


def test_a_problem_of_the_wrong_shape_is_still_an_error(kind: Kind) -> None:
    for body in (
        b"[]",
        b"{",
        b'{"type": 3, "errors": {"a": 1}, "detail": null}',
        b'{"errors":[3]}',
    ):
        plan = Planned(422, body, {"Content-Type": "application/problem+json"})
        with misbehaving(plan) as server, pytest.raises(ServiceAnswerError) as caught:
            call(kind, server.url, "predict", **ASKED)
        assert (caught.value.status, caught.value.errors) == (422, ())


BROKEN = {
    "cut": (Planned(200, b'{"id":', cut=100), "the connection broke"),
    "hung up": (Planned(hang_up=True), "the connection broke"),
    "silent": (Planned(200, b"{}", before=1.5), "no complete answer came within 0.4 s"),
    "drop by drop": (Planned(200, b" " * 100, between=0.1), "no complete answer came within 0.4 s"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_may_have_been_recorded_is_not_sent_again(kind: Kind, name: str) -> None:
    plan, message = BROKEN[name]
    with misbehaving(plan) as server, pytest.raises(ConnectionFailedError, match=message) as caught:
        call(kind, server.url, "predict", client={"timeout": 0.4}, **ASKED)
    assert len(server.seen) == 1
    error = caught.value
    assert error.may_be_recorded
    assert error.request_id == server.seen[0].headers["x-request-id"]
    assert "may have taken and recorded" in str(error)
    assert error.request_id in str(error)


def test_what_changes_nothing_may_be_repeated(kind: Kind) -> None:
    hung = pytest.raises(ConnectionFailedError, match="it can be repeated")
    with misbehaving(Planned(hang_up=True)) as server, hung as caught:
        call(kind, server.url, "model")
    assert not caught.value.may_be_recorded


def test_nobody_there(kind: Kind) -> None:
    with misbehaving(GOOD) as server:
        url = server.url
    with pytest.raises(ConnectionFailedError, match="nothing was sent; check base_url") as caught:
        call(kind, url, "predict", **ASKED)
    assert not caught.value.may_be_recorded
    assert call(kind, url, "is_ready") is False


def test_readiness(kind: Kind) -> None:
    for status, ready, expected in ((200, True, True), (503, False, False), (200, False, False)):
        document = json.dumps({"ready": ready}).encode()
        with misbehaving(Planned(status, document)) as server:
            assert call(kind, server.url, "is_ready") is expected
        assert len(server.seen) == 1


def test_bad_values_are_not_sent(kind: Kind) -> None:
    bad: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("predict", [], {**ASKED, "infusions": 6.5}),
        ("predict", [], {**ASKED, "infusions": True}),
        ("predict", [], {**ASKED, "failed_trials": (1, 2, 3)}),
        ("predict", [], {**ASKED, "rated_by": "nurse"}),
        ("predict", [], {**ASKED, "levels": "0.8"}),
        ("predict", [], {**ASKED, "levels": [float("nan")]}),
        ("predict", [], {**ASKED, "so_far": 3}),
        ("predict", [], {**ASKED, "clinic": "../../v1/model"}),
        ("predict", [], {**ASKED, "clinic": 3}),
        ("recall", ["x/../y"], {}),
        ("card_text", ["pdf"], {}),
        ("evidence", ["cohorts"], {"cohort": 1.5}),
        ("add_outcomes", [ID, [{"batch": object()}]], {}),
        ("predict_many", [[1, 2], [6], "self"], {}),
        ("predict_many", [[1.5], 6, "self"], {}),
        ("predict_many", [[1], 6, ["nurse"]], {}),
        ("predict_many", [[1], None, "self"], {}),
    ]
    with misbehaving(GOOD) as server:
        for method, given, named in bad:
            with pytest.raises(InputError):
                call(kind, server.url, method, *given, **named)
    assert server.seen == []


def test_both_clients_have_the_same_methods(kind: Kind) -> None:
    shown = {
        one: {
            name: inspect.signature(value).replace(return_annotation=None)
            for name, value in vars(one).items()
            if not name.startswith("_") and name not in ("close", "aclose")
        }
        for one in (Client, AsyncClient)
    }
    assert shown[Client] == shown[AsyncClient]
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
