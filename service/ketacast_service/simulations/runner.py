"""Runs simulations: claims one, starts its process, watches it, keeps its result.

What is known of a simulation stands in the database, so any worker can go on with one
whose runner has gone. Finished tasks are kept in a directory; where that is lost they are
run again, to the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import structlog

from ketacast_service.errors import StoreDownError
from ketacast_service.moments import is_id, new_id
from ketacast_service.observability import SIMULATIONS, SIMULATIONS_WAITING
from ketacast_service.simulations import child
from ketacast_service.simulations.child import Ended, Progress
from ketacast_service.simulations.holding import LEASE_SECONDS
from ketacast_service.simulations.jobs import Job, JobFile, State
from ketacast_service.simulations.store import OWN_END, JobStore, in_parts

_LOG = structlog.get_logger(__name__)
IDLE_SECONDS: Final = 2.0
"""Between looks for simulations that other workers were asked for."""

RENEW_SECONDS: Final = 1.0
TIDY_SECONDS: Final = 3600.0
MOST_ATTEMPTS: Final = 3 * OWN_END
"""Starts that get nowhere: the third end of its own process, or the ninth of the service's. More
would do the same again, and where memory is bounded for the service as a whole, end that too."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where simulations run.

    Attributes
    ----------
    directory : Path
        Of what is done; made with mode 0700.
    model : Path or None
        Directory of the model.
    sha256 : str
        Its digest, as the service loaded it.
    since : str
        When that was.
    """

    directory: Path
    model: Path | None
    sha256: str
    since: str


class Runner:
    """Threads that run simulations, each one at a time.

    Parameters
    ----------
    store : JobStore
    place : Place
    """

    def __init__(self, store: JobStore, place: Place) -> None:
        self._store = store
        self._place = place
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to look for simulations."""
        for number in range(self._store.limits.running):
            thread = threading.Thread(
                target=self._work, args=(number == 0,), name="simulations", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Look now: one was taken on."""
        self._wake.set()

    def close(self) -> None:
        """Give back what runs; the next start goes on with it."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(LEASE_SECONDS)

    def _work(self, tidies: bool) -> None:
        tidied, told = 0.0, ""
        while not self._stop.is_set():
            try:
                if tidies and time.monotonic() - tidied > TIDY_SECONDS:
                    self._tidy()
                    tidied = time.monotonic()
                ran, reason = self._run_one(), ""
            except StoreDownError as error:
                ran, reason = False, f"the store is down: {error}"
            except Exception as error:  # noqa: BLE001  # the thread must outlive every failure
                ran, reason = False, f"{type(error).__name__}: {error}"
            if reason and reason != told:
                _LOG.error("simulations cannot be run", reason=reason)
            told = reason
            if not ran:
                self._wake.wait(IDLE_SECONDS)
                self._wake.clear()

    def _run_one(self) -> bool:
        holder = new_id()
        job = self._store.claim(holder, self._place.sha256, self._place.since)
        SIMULATIONS_WAITING.set(self._store.waiting())
        if job is None:
            return False
        _LOG.info("simulation begins", simulation=job.id, earlier_ends=job.attempts)
        Attempt(self._store, self._place, job, holder, self._stop).run()
        return True

    def _tidy(self) -> None:
        """Remove what was kept long enough, and directories of what has ended elsewhere."""
        removed = self._store.expire()
        if removed:
            _LOG.info("removed simulations past their time", removed=removed)
        # Looked at first: a directory that is made meanwhile belongs to one that is run.
        found = self._directories()
        known = self._store.unfinished()
        for path in found:
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def _directories(self) -> list[Path]:
        """Return those of simulations; what else is there is nobody's to remove."""
        with contextlib.suppress(FileNotFoundError):
            return [path for path in self._place.directory.iterdir() if is_id(path.name)]
        return []


class Attempt:
    """One try at one simulation."""

    def __init__(
        self, store: JobStore, place: Place, job: Job, holder: str, stop: threading.Event
    ) -> None:
        self._store = store
        self._place = place
        self._job = job
        self._holder = holder
        self._stop = stop
        self._directory = place.directory / job.id
        self._begun = time.monotonic()
        self._progress = Progress(0, 0)

    @property
    def seconds(self) -> float:
        """Running time, that of earlier attempts included."""
        return self._job.seconds + time.monotonic() - self._begun

    def run(self) -> None:
        """Run it to its end, or until it is not ours any more."""
        job = self._job
        if job.model_sha256 != self._place.sha256:
            self._fail(
                "conflict",
                f"it was taken on with the model {job.model_sha256[:12]}, the service now has "
                f"{self._place.sha256[:12]}; send it again",
            )
            return
        if job.attempts >= MOST_ATTEMPTS:
            self._fail(
                "too-large",
                f"its process ended early {MOST_ATTEMPTS // OWN_END} times, or the service's "
                f"{MOST_ATTEMPTS} times, and it got no further, most likely for want of memory; "
                "simulate less at once",
            )
            return
        try:
            self._try()
        except (StoreDownError, OSError):  # of database or disk, not of this simulation
            with contextlib.suppress(StoreDownError):
                self._store.release(job, self._holder, job.seconds, failed=False)
            raise

    def _try(self) -> None:
        self._prepare()
        with self._process() as (process, connection):
            ended = self._watch(process, connection)
        if ended is not None:
            self._conclude(ended)

    def _prepare(self) -> None:
        for path in (self._place.directory, self._directory):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in self._job.profiles.items():
            (self._directory / name).write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def _process(self) -> Iterator[tuple[SpawnProcess, Connection]]:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=child.run,
            args=(theirs, self._job.document, self._directory.resolve(), self._place.model,
                  self._place.sha256),
            name="simulation", daemon=True,
        )  # fmt: skip
        process.start()
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.join()
            process.close()
            ours.close()

    def _watch(self, process: SpawnProcess, connection: Connection) -> Ended | None:
        """Wait for the end; None if it is to be run again, or not ours any more."""
        renewed = kept = time.monotonic()
        while True:
            try:
                if connection.poll(RENEW_SECONDS / 2):
                    message = connection.recv()
                    if isinstance(message, Ended):
                        return message
                    self._progress = message
            except (EOFError, OSError):
                process.join(1.0)
                _LOG.warning(
                    "simulation ended early", simulation=self._job.id, code=process.exitcode
                )
                self._again()
                return None
            now = time.monotonic()
            if self._stop.is_set():
                self._store.release(self._job, self._holder, self.seconds, failed=False)
                return None
            if self.seconds > self._store.limits.seconds:
                return self._too_long()
            if now - renewed >= RENEW_SECONDS:
                renewed = now
                with contextlib.suppress(StoreDownError):
                    if not self._renew():
                        return None
                    kept = now
                if now - kept > LEASE_SECONDS:  # another may have it by now
                    _LOG.error("simulation is left, for the store is down", simulation=self._job.id)
                    return None

    def _renew(self) -> bool:
        SIMULATIONS_WAITING.set(self._store.waiting())
        far = self._progress
        if self._store.renew(self._job, self._holder, far.done, far.total, self.seconds):
            return True
        self._gone()
        return False

    def _again(self) -> None:
        """Let a simulation whose process ended be run again, a few times."""
        self._renew()
        self._store.release(self._job, self._holder, self.seconds, failed=True)

    def _too_long(self) -> Ended:
        far = self._progress
        share = f" ({100 * far.done / far.total:.0f} % was done)" if far.total else ""
        return Ended(
            "too-large",
            f"it ran longer than {self._store.limits.seconds:g} s and was ended{share}; simulate "
            "less at once (draws, patients of 'individuals', strategies), or run it yourself with "
            "`ketacast simulate run`",
        )

    def _conclude(self, ended: Ended) -> None:
        if ended.is_disk:
            raise OSError(ended.where)
        if ended.slug:
            if ended.where:
                _LOG.error("simulation failed", simulation=self._job.id, where=ended.where)
            self._fail(ended.slug, ended.detail)
            return
        if not self._renew():
            return
        files = self._keep()
        if files is None:
            self._gone()
        else:
            self._end("done", files=files)

    def _keep(self) -> list[JobFile] | None:
        """Store the files of the result, a part at a time; None if it is not ours any more."""
        job = self._job
        self._store.remove_parts(job.id)
        found = []
        results = sorted((self._directory / child.RESULTS).iterdir())
        profiles = [self._directory / name for name in sorted(job.profiles)]
        for path in (*results, *profiles):
            body = path.read_bytes()
            number = 0
            for number, part in enumerate(in_parts(body), 1):
                if not self._store.put_part(job, self._holder, path.name, number - 1, part):
                    return None
            digest = hashlib.sha256(body).hexdigest()
            found.append(JobFile(path.name, len(body), digest, number))
        return found

    def _fail(self, slug: str, detail: str) -> None:
        self._end("failed", problem={"slug": slug, "detail": detail})

    def _end(
        self, state: State, *, problem: dict[str, str] | None = None, files: Sequence[JobFile] = ()
    ) -> None:
        held = self._store.finish(
            self._job, self._holder, state, self.seconds, problem=problem, files=files
        )
        if held:
            SIMULATIONS.labels(state).inc()
            _LOG.info(
                "simulation ended", simulation=self._job.id, state=state,
                seconds=round(self.seconds, 1),
            )  # fmt: skip
            self._clear()
        else:
            self._gone()

    def _gone(self) -> None:
        """Leave a simulation that is not ours any more."""
        state = self._store.state(self._job.id)
        if state in (None, "cancelled"):
            _LOG.info("simulation was cancelled or removed", simulation=self._job.id)
            self._store.remove_parts(self._job.id)
        else:
            _LOG.warning("simulation went to another runner", simulation=self._job.id)
        if state not in ("queued", "running"):
            self._clear()

    def _clear(self) -> None:
        """Remove what was kept on the way."""
        shutil.rmtree(self._directory, ignore_errors=True)
