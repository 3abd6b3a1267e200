"""What the service does with requests that it cannot answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.service.running import Running, running_service

GOOD: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
PREFIX = "urn:ketacast:problem:"

BAD_FIELDS = [
    ({"failed_trials": -1}, "/failed_trials"),
    ({"failed_trials": 21}, "/failed_trials"),
    ({"failed_trials": 6.0}, "/failed_trials"),
    ({"failed_trials": True}, "/failed_trials"),
    ({"failed_trials": "6"}, "/failed_trials"),
    ({"failed_trials": None}, "/failed_trials"),
    ({"failed_trials": [4, 8]}, "/failed_trials"),
    ({"failed_trials": {"min": 4}}, "/failed_trials/max"),
    ({"failed_trials": {"min": 8, "max": 4}}, "/failed_trials"),
    ({"failed_trials": {"min": 4, "max": 8, "most": 9}}, "/failed_trials/most"),
    ({"infusions": 0}, "/infusions"),
    ({"infusions": 31}, "/infusions"),
    ({"infusions": 10**30}, "/infusions"),
    ({"rated_by": "nurse"}, "/rated_by"),
    ({"rated_by": ""}, "/rated_by"),
    ({"so_far": "NX"}, "/so_far"),
    ({"so_far": "NNNNNN"}, "/so_far"),
    ({"so_far": 3}, "/so_far"),
    ({"levels": []}, "/levels"),
    ({"levels": [0.8] * 9}, "/levels"),
    ({"levels": [1.0]}, "/levels/0"),
    ({"levels": ["0.8"]}, "/levels/0"),
    ({"clinic": {}}, "/clinic/id"),
    ({"clinic": {"id": "1"}}, "/clinic/id"),
    ({"clinic": "x"}, "/clinic"),
    ({"patient_name": "Jane Roe"}, "/patient_name"),
    ({"a/b~c": 1}, "/a~1b~0c"),
]


@pytest.mark.parametrize(("change", "field"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_by_field(
    http: httpx.Client, change: dict[str, Any], field: str
) -> None:
    answer = http.post("/v1/predictions", json={**GOOD, **change})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == PREFIX + "invalid-input"
    assert field in [error["field"] for error in problem["errors"]]
    assert all(error["detail"] and error["remedy"] for error in problem["errors"])
    assert "Jane Roe" not in answer.text


@pytest.mark.parametrize("name", ["failed_trials", "infusions", "rated_by"])
def test_a_missing_value_is_named(http: httpx.Client, name: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != name}
    problem = http.post("/v1/predictions", json=body).json()
    assert problem["errors"][0]["field"] == f"/{name}"
    assert problem["errors"][0]["detail"] == "is missing"


JSON = {"content-type": "application/json"}
MALFORMED = [
    (b"", 400, "malformed-request"),
    (b"{", 400, "malformed-request"),
    (b"\xff\xfe{}", 400, "malformed-request"),
    (b"[" * 100_000, 400, "malformed-request"),
    (b'{"failed_trials":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "malformed-request"),
    (b"[]", 422, "invalid-input"),
    (b"null", 422, "invalid-input"),
    (b"3", 422, "invalid-input"),
    (b'{"failed_trials":NaN,"infusions":6,"rated_by":"self"}', 422, "invalid-input"),
    (b" " * (1 << 20) + b"{}", 413, "too-large"),
]


@pytest.mark.parametrize(("body", "status", "slug"), MALFORMED, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/clinics"])
def test_a_malformed_body_is_refused(
    http: httpx.Client, path: str, body: bytes, status: int, slug: str
) -> None:
    answer = http.post(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (status, PREFIX + slug)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "multipart/form-data; boundary=x"},
        {},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "zstd"},
    ],
    ids=str,
)
def test_other_kinds_of_body_are_refused(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.post("/v1/predictions", content=b"\x1f\x8b\x08garbage", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["type"] == PREFIX + "unsupported-media-type"


def test_a_chunked_body_is_cut_at_the_limit(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    answer = http.post("/v1/predictions", content=endless(), headers=JSON)
    assert answer.status_code == 413


ALLOWED = {
    "/v1/predictions": {"POST"},
    "/v1/predictions/batch": {"POST"},
    "/v1/model": {"GET"},
    "/v1/clinics": {"GET", "POST"},
}


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/predictions/", 404, "not-found"),
        ("GET", "/v1/predictions", 405, "method-not-allowed"),
        ("DELETE", "/v1/predictions", 405, "method-not-allowed"),
        ("OPTIONS", "/v1/predictions", 405, "method-not-allowed"),
        ("GET", "/v1/predictions/not-an-id", 404, "not-found"),
        ("GET", "/v1/predictions/00000000-0000-7000-8000-000000000000", 404, "not-found"),
        ("GET", "/v1/clinics/00000000-0000-7000-8000-000000000000", 404, "not-found"),
        ("GET", "/v1/evidence?table=secrets", 422, "invalid-input"),
        ("GET", "/v1/evidence?cohort=nobody2020", 404, "not-found"),
        ("GET", "/v1/evidence?outcome=happiness", 422, "invalid-input"),
        ("GET", "/v1/predictions/batch", 405, "method-not-allowed"),
        ("POST", "/v1/model", 405, "method-not-allowed"),
        ("PUT", "/v1/clinics", 405, "method-not-allowed"),
        ("GET", "/v1/evidence?in_model=perhaps", 422, "invalid-input"),
    ],
)
def test_other_addresses_and_methods(
    http: httpx.Client, method: str, path: str, status: int, slug: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (status, PREFIX + slug)
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) == ALLOWED[path]


def test_every_answer_carries_the_headers_of_security(http: httpx.Client) -> None:
    for answer in (
        http.post("/v1/predictions", json=GOOD),
        http.post("/v1/predictions", content=b"{", headers=JSON),
        http.get("/nowhere"),
        http.get("/v1/model"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
        assert "set-cookie" not in answer.headers


def test_an_unusable_request_id_is_replaced(http: httpx.Client) -> None:
    for given in ("x" * 65, "a b", '"}{', "\u00e4"):
        answer = http.get("/livez", headers=[(b"x-request-id", given.encode())])
        assert answer.headers["x-request-id"] != given
        assert len(answer.headers["x-request-id"]) == 20


def test_pages_of_allowed_origins_may_read_answers_and_errors(http: httpx.Client) -> None:
    for path, body in (("/v1/predictions", GOOD), ("/v1/predictions", {"x": 1})):
        answer = http.post(path, json=body, headers={"origin": "https://ehr.example"})
        assert answer.headers["access-control-allow-origin"] == "https://ehr.example"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
    asked = {"origin": "https://ehr.example", "access-control-request-method": "POST"}
    preflight = http.options("/v1/predictions", headers=asked)
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    foreign = http.options("/v1/predictions", headers={**asked, "origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


def test_a_foreign_page_may_not_post(http: httpx.Client) -> None:
    answer = http.post("/v1/predictions", json=GOOD, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert http.get("/livez", headers={"host": "evil.example"}).status_code == 403


def test_too_many_requests_are_told_when_to_come_back() -> None:
    with (
        running_service(rate_per_second=5, rate_burst=10) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        answers = [http.post("/v1/predictions", json=GOOD) for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 15 <= len(refused) <= 20
        assert int(refused[0].headers["retry-after"]) >= 1
        assert refused[0].json()["type"] == PREFIX + "too-many-requests"


def test_a_body_that_never_ends_is_given_up() -> None:
    with running_service(body_timeout_seconds=0.5) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
            head = (
                "POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            connection.sendall(head.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 408")
        assert json.loads(answer.partition("\r\n\r\n")[2])["type"] == PREFIX + "too-slow"


def test_nothing_of_a_body_is_logged(service: Running, http: httpx.Client) -> None:
    secret = "Wednesday-Addams-4711"  # noqa: S105  # stands for a patient's name
    http.post("/v1/predictions", json={**GOOD, "note": secret})
    http.get(f"/v1/predictions/{secret}", params={"patient": secret})
    http.post("/v1/predictions", content=secret.encode(), headers=JSON)
    http.get("/livez", headers={"authorization": f"Bearer {secret}", "cookie": secret})
    # The access log is written a few times a second; a later line shows that it was.
    http.get("/livez", headers={"x-request-id": "last-line"})
    for _ in range(100):
        log = service.log.read_text()
        if "last-line" in log:
            break
        time.sleep(0.05)
    assert "last-line" in log
    assert secret not in log


def test_headers_without_end_are_cut(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        answer = b""
        try:
            for _ in range(200):
                connection.sendall(b"x" * 16_384)
            answer = connection.recv(65536)
        except OSError:
            answer = answer or b"closed"
    assert answer == b"closed" or answer.startswith(b"HTTP/1.1 431")
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_a_body_that_comes_with_its_head_is_not_counted_as_head(http: httpx.Client) -> None:
    body = b" " * 900_000 + json.dumps(GOOD).encode()
    for _ in range(3):  # on one connection
        assert http.post("/v1/predictions", content=body, headers=JSON).status_code == 200
