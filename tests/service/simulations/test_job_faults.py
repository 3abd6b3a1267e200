"""Whatever is killed, a simulation goes on to the same bits, or says why it does not."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.simulations.asking import ended, long_spec, spec, state, submitted, until
from tests.service.simulations.restarting import Restarted

from ketacast.simulation import report_of, simulate
from ketacast.simulation.documents import from_document

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Restarted]:
    found = Restarted(tmp_path)
    try:
        yield found
    finally:
        if found.process is not None:
            found.stop(signal.SIGKILL)


def begun(web: httpx.Client, document: dict[str, Any]) -> str:
    identifier = submitted(web, document)
    until(web, identifier, lambda found: found["progress"]["done"] > 0)
    return identifier


def assert_whole(web: httpx.Client, job: dict[str, Any], document: dict[str, Any]) -> None:
    assert job["state"] == "done", job
    report = web.get(f"/v1/simulations/{job['id']}/result").json()
    assert report == report_of(simulate(from_document(document)))


def test_kill_9_of_everything_costs_time_only(service: Restarted) -> None:
    document = long_spec()
    service.start()
    with service.web() as web:
        identifier = begun(web, document)
        waiting = submitted(web, spec(draws=2))
    service.stop(signal.SIGKILL)
    service.start()
    with service.web() as web:
        before = state(web, identifier)
        assert before["state"] == "running"
        assert before["progress"]["done"] > 0
        job = ended(web, identifier)
        assert_whole(web, job, document)
        assert ended(web, waiting)["state"] == "done"
    assert not list((service.directory / "simulations").glob("*-*"))
    assert service.log().count('"event": "simulation begins"') == 3


def test_a_stop_gives_it_back_and_the_next_start_goes_on(service: Restarted) -> None:
    document = long_spec(seed=3)
    service.start()
    with service.web() as web:
        identifier = begun(web, document)
        done = state(web, identifier)["progress"]["done"]
    assert service.stop(signal.SIGTERM) < 10
    with sqlite3.connect(service.directory / "service.db") as connection:
        (kept,) = connection.execute("SELECT state FROM simulation").fetchall()
    connection.close()
    assert kept == ("queued",)
    service.start()
    with service.web() as web:
        begins = until(web, identifier, lambda found: found["state"] == "running")
        assert begins["progress"]["done"] >= done
        assert_whole(web, ended(web, identifier), document)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_whole_group_counts_for_nothing(service: Restarted, number: int) -> None:
    """As systemd and Ctrl-C do: the simulation's process gets the signal too."""
    service.start()
    with service.web() as web:
        begun(web, long_spec(seed=13))
    assert service.process is not None
    os.killpg(service.process.pid, number)
    service.process.wait(30)
    service.process = None
    with sqlite3.connect(service.directory / "service.db") as connection:
        (kept,) = connection.execute("SELECT state, attempts FROM simulation").fetchall()
    connection.close()
    assert kept == ("queued", 0)
    assert "simulation ended early" not in service.log()


def test_a_killed_process_is_started_again(service: Restarted) -> None:
    document = long_spec(seed=4)
    service.start()
    with service.web() as web:
        identifier = begun(web, document)
        os.kill(service.running_child(identifier), signal.SIGKILL)
        assert_whole(web, ended(web, identifier), document)
    assert '"event": "simulation ended early"' in service.log()


def test_one_that_ends_its_process_again_and_again_is_given_up(service: Restarted) -> None:
    service.start()
    with service.web() as web:
        identifier = submitted(web, long_spec(seed=5))
        killed: set[int] = set()
        end = time.monotonic() + 60
        while len(killed) < 3 and time.monotonic() < end:
            found = service.running_child(identifier)
            if found and found not in killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found, signal.SIGKILL)
                killed.add(found)
            time.sleep(0.01)
        job = ended(web, identifier)
        assert job["state"] == "failed"
        assert "ended early 3 times" in job["problem"]["detail"]
        assert ended(web, submitted(web, spec(draws=2)))["state"] == "done"


def test_what_was_done_may_be_lost(service: Restarted) -> None:
    document = long_spec(seed=6)
    service.start()
    with service.web() as web:
        identifier = begun(web, document)
    service.stop(signal.SIGKILL)
    shutil.rmtree(service.directory / "simulations")
    service.start()
    with service.web() as web:
        assert_whole(web, ended(web, identifier), document)


def test_several_workers_run_one_at_a_time(service: Restarted) -> None:
    service.settings = {"workers": 2, "simulations_unfinished": 6, "rate_per_second": 0}
    service.start()
    with service.web() as web:
        ids = [submitted(web, spec(draws=4, seed=seed)) for seed in range(5)]
        end = time.monotonic() + 90
        while time.monotonic() < end:
            states = [state(web, one)["state"] for one in ids]
            assert states.count("running") <= 1
            if all(one == "done" for one in states):
                break
            time.sleep(0.05)
        assert states == ["done"] * 5
        assert_whole(web, state(web, ids[4]), spec(draws=4, seed=4))


def test_another_model_does_not_go_on_with_it(service: Restarted) -> None:
    service.start()
    with service.web() as web:
        identifier = begun(web, long_spec(seed=8))
    service.stop(signal.SIGTERM)
    with sqlite3.connect(service.directory / "service.db") as connection:
        connection.execute("UPDATE simulation SET model_sha256 = ?", ("b" * 64,))
    connection.close()
    service.start()
    with service.web() as web:
        job = ended(web, identifier)
        assert job["state"] == "failed"
        assert "taken on with the model bbbbbbbbbbbb" in job["problem"]["detail"]


def test_a_directory_that_cannot_be_written_is_told_and_waited_for(service: Restarted) -> None:
    service.settings = {"simulation_directory": service.directory / "place" / "inside"}
    (service.directory / "place").write_text("a file where a directory must be")
    service.start()
    with service.web() as web:
        identifier = submitted(web, spec(draws=2))
        end = time.monotonic() + 30
        while "simulations cannot be run" not in service.log() and time.monotonic() < end:
            time.sleep(0.1)
        assert "simulations cannot be run" in service.log()
        assert web.post(
            "/v1/predictions", json={"failed_trials": 6, "infusions": 6, "rated_by": "self"}
        ).is_success
        (service.directory / "place").unlink()
        assert ended(web, identifier)["state"] == "done"


def test_answers_go_on_beside_a_simulation(service: Restarted) -> None:
    service.settings = {"rate_per_second": 0}
    service.start()
    with service.web() as web:
        identifier = begun(web, long_spec(seed=9))
        child = service.running_child(identifier)
        nice = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[16]
        assert int(nice) >= 10
        assert Path(f"/proc/{child}/oom_score_adj").read_text().strip() == "1000"
        for trials in range(20):
            found = web.post(
                "/v1/predictions",
                json={"failed_trials": trials, "infusions": 6, "rated_by": "self"},
            )
            assert found.status_code == 200
        assert state(web, identifier)["state"] in ("running", "done")
