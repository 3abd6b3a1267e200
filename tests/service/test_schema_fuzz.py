"""Requests generated from the OpenAPI document, sent to a running service; every check is on.

`make fuzz` runs the long one and prints its figures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.service.running import Running, new_key, running_service
from tests.service.simulations.asking import ended, spec, submitted

MANY: Final = 20_000
_ROUND: Final = 600
"""Examples for an operation, in a round of the long run: some 6,000 requests."""
_ROOM: Final[dict[str, Any]] = dict.fromkeys(
    ("simulations_waiting", "simulations_unfinished", "simulations_kept"), 1_000_000
)
_SECRET: Final = "5d0c6e1f8b2a4937" * 4


@dataclass(frozen=True)
class Fuzzed:
    """What a run reported."""

    text: str
    status: int
    requests: int


def fuzz(service: Running, directory: Path, *options: str, key: str | None = None) -> Fuzzed:
    """Run schemathesis with all checks against a service; it leaves its files in `directory`."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"]
    command += ["--checks", "all", "--continue-on-failure", "--no-color"]
    command += ["--generation-database", "none", "--request-timeout", "60", *options]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}"]
    environment = {
        **os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(here),
        "FINISHED_SIMULATION": finished(service, key),
    }  # fmt: skip
    before = answered(service, key)
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    return Fuzzed(text, done.returncode, answered(service, key) - before)


def finished(service: Running, key: str | None) -> str:
    """The id of a simulation with a result; none where the key may not ask for one."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
        known = http.get("/v1/simulations")
        if known.status_code == 403:
            return ""
        for one in known.json()["simulations"]:  # of an earlier round, which left a long queue
            if one["state"] == "done":
                return str(one["id"])
        return str(ended(http, submitted(http, spec(draws=2)))["id"])


def answered(service: Running, key: str | None) -> int:
    """Requests that the service says it has answered, of generated ones."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    page = httpx.get(service.url + "/metrics", headers=headers, timeout=30).text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in page.splitlines()
        if line.startswith("ketacast_requests_total") and 'route="/readyz"' not in line
    )


def assert_clean(found: Fuzzed, service: Running) -> None:
    assert found.status == 0, found.text
    assert "No issues found" in found.text, found.text
    log = service.log.read_text()
    assert "request failed" not in log
    assert "Traceback" not in log


def test_the_whole_document_holds(tmp_path: Path) -> None:
    with running_service(rate_per_second=0, **_ROOM) as service:
        found = fuzz(service, tmp_path, "--max-examples", "10", "--seed", "1")
        assert_clean(found, service)
        assert found.requests > 500
        assert int(re.findall(r"API Links: +(\d+) covered", found.text)[0]) >= 8


def test_the_document_holds_where_keys_are_asked_for(tmp_path: Path) -> None:
    """Every refusal of a missing, wrong or too narrow key is declared."""
    with running_service(rate_per_second=0, auth="keys", secret=_SECRET, **_ROOM) as service:
        key = new_key(service, "predict,read,clinics,simulate,metrics")
        only = ("--phases", "examples,coverage", "--seed", "1")
        assert_clean(fuzz(service, tmp_path, *only, key=key), service)
        narrow = new_key(service, "metrics")
        found = fuzz(service, tmp_path, *only, key=narrow)
        assert found.status == 0, found.text
        # A warning that lists the operations which the key never opened.
        assert "403 Forbidden (" in found.text
        for closed in ("POST /v1/predictions", "GET /v1/evidence", "POST /v1/clinics"):
            assert f"- {closed}\n" in found.text


@pytest.mark.parametrize("table", ["published_syntheses", "relapse", "cohorts"])
def test_evidence_of_an_outcome_in_every_table(http: httpx.Client, table: str) -> None:
    """Generated requests found a table without cohorts."""
    answer = http.get("/v1/evidence", params={"table": table, "outcome": "remission"})
    assert answer.status_code == 200


@pytest.mark.slow
def test_many_requests_hold(tmp_path: Path) -> None:
    """20,000 requests at least, with seeds that differ from run to run."""
    begun = time.monotonic()
    total = rounds = 0
    with running_service(rate_per_second=0, workers=2, **_ROOM) as service:
        while total < MANY:
            found = fuzz(service, tmp_path, "--max-examples", str(_ROUND))
            assert_clean(found, service)
            total, rounds = total + found.requests, rounds + 1
            took = time.monotonic() - begun
            seed = re.findall(r"Seed: (\d+)", found.text)[0]
            links = re.findall(r"API Links: +(\d+ covered)", found.text)[0]
            print(f"round {rounds}, seed {seed}: {total:,} requests in {took:.0f} s, links {links}")
    print(f"{total:,} requests, all checks, no failure")
