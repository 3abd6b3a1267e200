"""Long tasks: bounded in time and memory, in a process that can be ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ketacast.clinical.artifact import load_artifact
from ketacast.errors import ArtifactError
from ketacast_service.apart import Apart, ApartEndedError, ApartTooLongError
from ketacast_service.errors import ProblemError
from ketacast_service.work import MOST_APART, Work

TOO_MUCH = 5 << 30  # bytes


@pytest.fixture
def apart() -> Any:
    made = Apart(30)
    yield made
    made.close()


def test_a_task_is_answered_by_another_process(apart: Apart) -> None:
    first, second = apart.run(os.getpid), apart.run(os.getpid)
    assert first == second != os.getpid()


def test_what_a_task_raises_is_raised_and_the_process_goes_on(apart: Apart) -> None:
    process = apart.run(os.getpid)
    with pytest.raises(ArtifactError, match="nowhere"):
        apart.run(load_artifact, Path("nowhere"))
    assert apart.run(os.getpid) == process


def test_a_task_that_takes_too_long_is_ended() -> None:
    apart = Apart(1)
    process = apart.run(os.getpid)
    with pytest.raises(ApartTooLongError):
        apart.run(time.sleep, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert apart.run(os.getpid) != process
    apart.close()


def test_after_a_killed_process_the_next_task_gets_another(apart: Apart) -> None:
    process = apart.run(os.getpid)
    os.kill(process, signal.SIGKILL)
    try:
        after = apart.run(os.getpid)
    except ApartEndedError:  # it was not seen to be dead yet
        after = apart.run(os.getpid)
    assert after != process


def test_a_killed_task_is_told_so(apart: Apart) -> None:
    with pytest.raises(ApartEndedError):
        apart.run(os._exit, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_task_cannot_take_all_memory(apart: Apart) -> None:
    with pytest.raises(MemoryError):
        apart.run(bytearray, TOO_MUCH)
    assert apart.run(len, "abc") == 3


def test_the_process_ends_with_its_parent() -> None:
    script = (
        "import os, time\nfrom ketacast_service.apart import Apart\n"
        "if __name__ == '__main__':\n"
        "    apart = Apart(60)\n    print(apart.run(os.getpid), flush=True)\n"
        "    apart.run(time.sleep, 60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.1)
    pytest.fail("the process outlived its parent by 10 s")


def is_running(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


PROBLEMS: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (time.sleep, (60,), "unavailable"),
    (os._exit, (3,), "unavailable"),
    (bytearray, (TOO_MUCH,), "too-large"),
]


@pytest.mark.parametrize(("task", "given", "slug"), PROBLEMS, ids=["slow", "ended", "large"])
def test_failures_apart_are_problems(
    task: Callable[..., Any], given: tuple[Any, ...], slug: str
) -> None:
    async def run() -> None:
        work = Work(8, apart_seconds=2)
        with pytest.raises(ProblemError) as caught:
            await work.run_apart(task, *given)
        assert caught.value.slug == slug
        assert await work.run_apart(len, "abc") == 3
        work.close()

    asyncio.run(run())


def test_few_long_tasks_wait_and_short_ones_go_on() -> None:
    async def run() -> None:
        work = Work(8, apart_seconds=60)
        assert await work.run_apart(len, "a") == 1
        tasks = [asyncio.create_task(work.run_apart(time.sleep, 30)) for _ in range(MOST_APART)]
        await asyncio.sleep(0.1)
        with pytest.raises(ProblemError) as caught:
            await work.run_apart(len, "abc")
        assert dict(caught.value.headers)["Retry-After"]
        assert await work.run(len, "abc") == 3
        begun = time.monotonic()
        work.close()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, (ProblemError, asyncio.CancelledError)) for error in ended)
        assert time.monotonic() - begun < 10

    asyncio.run(run())
