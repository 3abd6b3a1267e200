"""Simulations in the database: taken on, claimed by one runner at a time, ended, removed.

A runner holds a simulation for some seconds and renews that while it works. Whoever
cancels or removes one only changes its row: the runner finds that it holds it no more.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from ketacast_service.database import reading, writing
from ketacast_service.errors import ProblemError
from ketacast_service.moments import utc_text
from ketacast_service.schema import simulation as jobs
from ketacast_service.schema import simulation_part as parts
from ketacast_service.simulations.holding import (
    changed,
    free,
    hold,
    is_held,
    lease_from,
    now_of,
)
from ketacast_service.simulations.jobs import Job, JobFile, Limits, State, files_text

OWN_END: Final = 3
"""Starts that one counts for whose own process ended, while nobody stopped the service."""

_STRANGE_SECONDS: Final = 600.0
"""After this nobody is left who has the model that a simulation was taken on with."""

PART_BYTES: Final = 1 << 20
_TURN: Final = 0x6B657473
"""Key of PostgreSQL's advisory lock ("kets"): who counts simulations does so alone."""

_UNFINISHED: Final = ("queued", "running")
_LARGE: Final = frozenset({"document", "profiles"})
"""Columns of a megabyte, which are read only to run a simulation."""


class JobStore:
    """The simulations of a service, and of all its workers.

    Parameters
    ----------
    engine : Engine
        With the newest schema.
    limits : Limits
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.limits = limits

    def check_room(self, owner: str) -> None:
        """Say whether one more can be taken on.

        Raises
        ------
        ProblemError
            "too-many-requests" or "conflict", with what to wait for or to delete.
        """
        with reading(self.engine) as connection:
            self._check_room(connection, owner)

    def add(self, job: Job) -> None:
        """Take a simulation on.

        Raises
        ------
        ProblemError
            As :meth:`check_room`.
        """
        with self._alone() as connection:
            self._check_room(connection, job.owner)
            connection.execute(insert(jobs), job.row())

    def find(self, identifier: str, owner: str) -> Job | None:
        """Return a client's simulation, without document and profiles."""
        wanted = self._shown().where(jobs.c.id == identifier, jobs.c.owner == owner)
        with reading(self.engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _job(row)

    def before(self, job: Job) -> int:
        """Return how many simulations are run before a queued one."""
        wanted = _count().where(jobs.c.state.in_(_UNFINISHED), jobs.c.id < job.id)
        with reading(self.engine) as connection:
            return int(connection.execute(wanted).scalar_one())

    def list(self, owner: str, after: str | None, limit: int) -> list[Job]:
        """Return a client's simulations in the order of their ids."""
        wanted = self._shown().where(jobs.c.owner == owner).order_by(jobs.c.id).limit(limit)
        if after is not None:
            wanted = wanted.where(jobs.c.id > after)
        with reading(self.engine) as connection:
            return [_job(row) for row in connection.execute(wanted)]

    def cancel(self, identifier: str, owner: str) -> Job | None:
        """End a client's simulation that is not finished; one that is stays as it is."""
        mine = and_(jobs.c.id == identifier, jobs.c.owner == owner)
        change = (
            update(jobs)
            .where(mine, jobs.c.state.in_(_UNFINISHED))
            .values(state="cancelled", finished=utc_text(), runner=None, lease=None)
        )
        with writing(self.engine) as connection:
            connection.execute(change)
            row = connection.execute(self._shown().where(mine)).one_or_none()
        return None if row is None else _job(row)

    def remove(self, identifier: str, owner: str) -> bool:
        """Remove a client's simulation with its result, whatever its state."""
        mine = delete(jobs).where(jobs.c.id == identifier, jobs.c.owner == owner)
        with writing(self.engine) as connection:
            if connection.execute(mine).rowcount != 1:
                return False
        self.remove_parts(identifier)
        return True

    def claim(self, runner: str, model_sha256: str, since: str) -> Job | None:
        """Hold the oldest simulation that waits or whose runner has gone, if one may be run.

        Parameters
        ----------
        runner : str
            Who holds it.
        model_sha256 : str
            The model of this process.
        since : str
            When it was loaded: of other models only older simulations are held, for newer
            ones were taken on by a process that has the newer model. Those that still wait
            after ten minutes were taken on by one that has gone.
        """
        past = utc_text(datetime.now(UTC) - timedelta(seconds=_STRANGE_SECONDS))
        fits = or_(jobs.c.model_sha256 == model_sha256, jobs.c.created < max(since, past))
        with reading(self.engine) as connection:
            wanted = free(now_of(connection), fits).with_only_columns(jobs.c.id)
            if connection.execute(wanted).first() is None:
                return None
        with self._alone() as connection:
            now = now_of(connection)
            held = _count().where(jobs.c.state == "running", is_held(now))
            if connection.execute(held).scalar_one() >= self.limits.running:
                return None
            row = connection.execute(free(now, fits)).one_or_none()
            if row is None:
                return None
            connection.execute(
                update(jobs).where(jobs.c.id == row.id).values(
                    state="running", runner=runner, lease=lease_from(now),
                    attempts=row.attempts + 1, started=row.started or utc_text(),
                )
            )  # fmt: skip
        return _job(row)

    def renew(self, job: Job, runner: str, done: int, total: int, seconds: float) -> bool:
        """Hold a simulation longer and note how far it is; False if it is held no more."""
        values: dict[str, Any] = {"seconds": seconds}
        if total:
            values |= {"done": done, "total": total}
        if done > job.done:
            values["attempts"] = 1
        with writing(self.engine) as connection:
            return hold(connection, job, runner, values)

    def release(self, job: Job, runner: str, seconds: float, *, failed: bool) -> bool:
        """Give a simulation back unfinished: another runner, or the same, goes on with it.

        A start whose own process `failed` counts as :data:`OWN_END`; one that was given back,
        as none; one whose runner went without a word, as the one that its claim counted.
        """
        values: dict[str, Any] = {
            "state": "queued", "runner": None, "lease": None, "seconds": seconds,
        }  # fmt: skip
        values["attempts"] = jobs.c.attempts + (OWN_END - 1 if failed else -1)
        return self._change(job, runner, values)

    def finish(
        self,
        job: Job,
        runner: str,
        state: State,
        seconds: float,
        *,
        problem: dict[str, str] | None = None,
        files: Sequence[JobFile] = (),
    ) -> bool:
        """End a simulation; False if it is held no more."""
        values: dict[str, Any] = {
            "state": state,
            "finished": utc_text(),
            "runner": None,
            "lease": None,
            "seconds": seconds,
            "problem": None if problem is None else json.dumps(problem),
            "files": files_text(files),
        }
        if state == "done":
            values["done"] = jobs.c.total
        return self._change(job, runner, values)

    def put_part(self, job: Job, runner: str, name: str, part: int, body: bytes) -> bool:
        """Store a part of a file and hold the simulation longer; False if it is held no more."""
        row = {"simulation": job.id, "name": name, "part": part, "body": body}
        with writing(self.engine) as connection:
            if not hold(connection, job, runner, {}):
                return False
            connection.execute(insert(parts), row)
            return True

    def part(self, identifier: str, name: str, part: int) -> bytes | None:
        """Return a part of a file, or None."""
        wanted = select(parts.c.body).where(
            parts.c.simulation == identifier, parts.c.name == name, parts.c.part == part
        )
        with reading(self.engine) as connection:
            found = connection.execute(wanted).scalar_one_or_none()
        return None if found is None else bytes(found)

    def remove_parts(self, identifier: str) -> None:
        """Remove the files of a simulation, a part at a time."""
        own = select(parts.c.name, parts.c.part).where(parts.c.simulation == identifier)
        with reading(self.engine) as connection:
            found = connection.execute(own).all()
        for name, part in found:
            one = and_(parts.c.simulation == identifier, parts.c.name == name, parts.c.part == part)
            with writing(self.engine) as connection:
                connection.execute(delete(parts).where(one))

    def expire(self) -> int:
        """Remove what was finished too long ago, and parts that belong to nothing."""
        past = utc_text(datetime.now(UTC) - timedelta(days=self.limits.days))
        old = select(jobs.c.id, jobs.c.owner).where(jobs.c.finished < past)
        orphans = select(parts.c.simulation).distinct().where(
            parts.c.simulation.not_in(select(jobs.c.id))
        )  # fmt: skip
        with reading(self.engine) as connection:
            ended = connection.execute(old).all()
            lost = connection.execute(orphans).scalars().all()
        for identifier, owner in ended:
            self.remove(identifier, owner)
        for identifier in lost:
            self.remove_parts(identifier)
        return len(ended)

    def state(self, identifier: str) -> State | None:
        """Return the state of a simulation, whoever asked for it; None if it was removed."""
        with reading(self.engine) as connection:
            wanted = select(jobs.c.state).where(jobs.c.id == identifier)
            found: State | None = connection.execute(wanted).scalar_one_or_none()
        return found

    def unfinished(self) -> set[str]:
        """Return the ids of the simulations that are not finished."""
        wanted = select(jobs.c.id).where(jobs.c.state.in_(_UNFINISHED))
        with reading(self.engine) as connection:
            return set(connection.execute(wanted).scalars())

    def waiting(self) -> int:
        """Return how many are queued."""
        with reading(self.engine) as connection:
            return int(connection.execute(_count().where(jobs.c.state == "queued")).scalar_one())

    def _change(self, job: Job, runner: str, values: dict[str, Any]) -> bool:
        with writing(self.engine) as connection:
            return changed(connection, job, runner, values)

    def _shown(self) -> Select[Any]:
        """Select what clients are shown; of the document the database reads two entries."""
        small = [column for column in jobs.c if column.name not in _LARGE]
        if self.engine.dialect.name == "postgresql":
            run = cast(jobs.c.document, JSON)["simulation"]
            return select(*small, run["title"].as_string().label("title"),
                          run["engine"].as_string().label("engine"))  # fmt: skip
        return select(
            *small,
            func.json_extract(jobs.c.document, "$.simulation.title").label("title"),
            func.json_extract(jobs.c.document, "$.simulation.engine").label("engine"),
        )

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Give a transaction in which nobody else takes simulations on or claims them."""
        with writing(self.engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")
            yield connection

    def _check_room(self, connection: Connection, owner: str) -> None:
        limits = self.limits
        unfinished = jobs.c.state.in_(_UNFINISHED)
        own = _number(connection, jobs.c.owner == owner, unfinished)
        if own >= limits.unfinished:
            raise _later(
                f"{own} simulations of this client are queued or running, at most "
                f"{limits.unfinished} may be; wait for one, or cancel one by "
                "POST /v1/simulations/{id}/cancel"
            )
        waiting = _number(connection, jobs.c.state == "queued")
        if waiting >= limits.waiting:
            raise _later(
                f"{waiting} simulations wait, at most {limits.waiting} may; send this one again "
                "later, or run it yourself with `ketacast simulate run`"
            )
        kept = _number(connection, jobs.c.owner == owner)
        if kept >= limits.kept:
            raise ProblemError(
                "conflict",
                f"{kept} simulations of this client are kept, at most {limits.kept} may be; "
                "remove one by DELETE /v1/simulations/{id}",
            )


def in_parts(body: bytes) -> Iterator[bytes]:
    """Cut a file."""
    for begin in range(0, max(len(body), 1), PART_BYTES):
        yield body[begin : begin + PART_BYTES]


def _later(detail: str) -> ProblemError:
    return ProblemError("too-many-requests", detail, headers=(("Retry-After", "30"),))


def _count() -> Select[Any]:
    return select(func.count()).select_from(jobs)


def _number(connection: Connection, *conditions: Any) -> int:
    return int(connection.execute(_count().where(*conditions)).scalar_one())


def _job(row: Row[Any]) -> Job:
    found = row._mapping  # noqa: SLF001  # SQLAlchemy's documented name
    packed = found.get("profiles")
    return Job(
        title=found.get("title") or "",
        engine=found.get("engine") or "counts",
        id=row.id,
        owner=row.owner,
        state=row.state,
        document=found.get("document", ""),
        profiles={} if packed is None else json.loads(zlib.decompress(packed)),
        model_sha256=row.model_sha256,
        created=row.created,
        started=row.started,
        finished=row.finished,
        done=row.done,
        total=row.total,
        seconds=row.seconds,
        attempts=row.attempts,
        problem=None if row.problem is None else json.loads(row.problem),
        files=tuple(JobFile(**one) for one in json.loads(row.files)),
    )
