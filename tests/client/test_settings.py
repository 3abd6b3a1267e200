"""What a client is set up with; its token is shown nowhere."""

from __future__ import annotations

import copy
import logging
import pickle
import ssl
import traceback
from typing import Any

import pytest
from tests.client.calling import KINDS, Kind, call
from tests.client.misbehaving import (
    Planned,
    misbehaving,
    prediction_document,
    problem,
    served,
)

from ketacast.client import (
    AsyncClient,
    Client,
    ConnectionFailedError,
    FieldFault,
    ServiceAnswerError,
)
from ketacast.client.exchange import Answer, Patience, retry_after
from ketacast.errors import InputError

TOKEN = "kc_0123456789_" + "s3cr3t" * 6
ASKED: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}


@pytest.fixture(autouse=True)
def no_token_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KETACAST_TOKEN", raising=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_is_sent_in_its_header_only(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("KETACAST_TOKEN", TOKEN)
    with misbehaving(served(prediction_document())) as server:
        call(kind, server.url, "predict", **ASKED)
        call(kind, server.url, "predict", client={"token": "kc_other_token"}, **ASKED)
    given, other = server.seen
    assert given.headers["authorization"] == f"Bearer {TOKEN}"
    assert other.headers["authorization"] == "Bearer kc_other_token"
    assert TOKEN not in given.path + given.body.decode()
    assert TOKEN not in caplog.text


def test_without_a_token_none_is_sent() -> None:
    with misbehaving(served(prediction_document())) as server:
        call("blocking", server.url, "predict", **ASKED)
    assert "authorization" not in server.seen[0].headers


FAILING = {
    "refused": problem(401, "not-authenticated", "the key is not known"),
    "cut": Planned(200, b"{", cut=10),
    "slow": Planned(200, b"{}", before=1.0),
    "wrong": Planned(200, b"[]"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAILING)
def test_errors_do_not_hold_the_token(kind: Kind, name: str) -> None:
    given = {"token": TOKEN, "timeout": 0.3}
    failing = pytest.raises((ServiceAnswerError, ConnectionFailedError))
    with misbehaving(FAILING[name]) as server, failing as caught:
        call(kind, server.url, "predict", client=given, **ASKED)
    error: BaseException | None = caught.value
    assert TOKEN not in "".join(traceback.format_exception(error))
    while error is not None:  # httpx's own errors hold the request
        assert not type(error).__module__.startswith("httpx")
        assert TOKEN not in repr(vars(error)) + str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_does_not_show_its_token(kind: type[Client | AsyncClient]) -> None:
    client = kind("http://127.0.0.1:1/", token=TOKEN)
    assert repr(client) == f"{kind.__name__}('http://127.0.0.1:1')"
    assert TOKEN not in str(copy.copy(client)) + repr(client._core)


@pytest.mark.parametrize(
    "token", ["", " ", "Bearer kc_a_b", TOKEN + "\n", "clé_" + TOKEN, "a\x00b", 3]
)
def test_a_token_that_cannot_be_sent_is_refused_unseen(token: Any) -> None:
    with pytest.raises(InputError, match=r"the token is .* \(it is not shown\)") as caught:
        Client(token=token)
    assert str(token).strip() in ("", "3") or str(token) not in str(caught.value)


def test_a_token_is_not_sent_over_http_to_another_machine() -> None:
    for url in ("http://ketacast.example.org", "http://192.0.2.1:8000"):
        with pytest.raises(InputError, match="can be read on the way"):
            Client(url, token=TOKEN)
        Client(url, token=TOKEN, allow_plain_http=True).close()
        Client(url).close()
    for url in ("https://ketacast.example.org", "http://localhost:1", "http://[::1]:1"):
        Client(url, token=TOKEN).close()


@pytest.mark.parametrize(
    "url",
    ["", "ketacast.example.org", "ftp://a", "http://", "http://a:99999", "http://a?x=1",
     "http://a#x", "http://[::1", 3],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(InputError, match="base_url"):
        Client(url)


def test_a_password_in_the_address_is_refused_unseen() -> None:
    with pytest.raises(InputError, match="as token instead") as caught:
        Client("https://me:secret-word@ketacast.example.org")
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": "10"},
        {"retries": -1},
        {"retries": 2.0},
        {"retries": True},
        {"longest_wait": float("nan")},
    ],
)
def test_settings_that_cannot_be_used_are_named(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(InputError, match=f"{name} is "):
        Client(**given)


def test_a_certificate_authority_of_ones_own() -> None:
    Client("https://ketacast.example.org", ssl_context=ssl.create_default_context()).close()


def test_pauses_grow_are_capped_and_never_before_the_service_allows() -> None:
    patience = Patience(retries=4, longest=60.0)
    assert [patience.pause(n, None, 1.0) for n in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert patience.pause(3, None, 0.0) == 0
    assert patience.pause(0, 3.0, 0.5) == 3.125


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("7", 7.0), ("-7", None), ("soon", None), ("٣", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_read_or_left(text: str, seconds: float | None) -> None:
    assert retry_after(Answer(503, {"retry-after": text}, b"")) == seconds


def test_errors_pass_between_processes() -> None:
    fault = FieldFault("/infusions", "is 99", "give 1 to 30")
    refused = ServiceAnswerError("d", status=422, errors=[fault], request_id="r", retry_after=2.0)
    back = pickle.loads(pickle.dumps(refused))  # noqa: S301  # made here
    assert (str(back), vars(back)) == (str(refused), vars(refused))
    broken = ConnectionFailedError("m", may_be_recorded=True, request_id="r")
    again = pickle.loads(pickle.dumps(broken))  # noqa: S301
    assert (str(again), vars(again)) == ("m", vars(broken))
