"""Who holds a simulation: its runner, for some seconds, which it renews while it works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, not_, or_, select, update

from ketacast_service.schema import simulation as jobs
from ketacast_service.simulations.jobs import Job

LEASE_SECONDS: Final = 10.0
"""How long a simulation waits for a runner that has gone without a word."""

_TOO_FAR: Final = 3 * LEASE_SECONDS
"""No runner holds one so far ahead: the clock was put back since, and the runner, which would have
renewed it within a second, has gone."""


def now_of(connection: Connection) -> float:
    """Return the time by one clock: several machines share a PostgreSQL, one an SQLite file."""
    if connection.dialect.name != "postgresql":
        return time.time()
    wanted = "SELECT extract(epoch FROM clock_timestamp())"
    return float(connection.exec_driver_sql(wanted).scalar_one())


def lease_from(now: float) -> float:
    """Return until when a runner holds what it claims or renews now."""
    return now + LEASE_SECONDS


def is_held(now: float) -> ColumnElement[bool]:
    """Whether a runner holds a simulation."""
    return and_(jobs.c.lease > now, jobs.c.lease < now + _TOO_FAR)


def free(now: float, fits: ColumnElement[bool]) -> Select[Any]:
    """Select the oldest simulation that nobody holds."""
    left = and_(jobs.c.state == "running", not_(is_held(now)))
    waits = or_(jobs.c.state == "queued", left)
    return select(jobs).where(waits, fits).order_by(jobs.c.id).limit(1)


def hold(connection: Connection, job: Job, runner: str, values: Mapping[str, Any]) -> bool:
    """Change a simulation of a runner, and let it hold that longer; False if it holds none."""
    lease = lease_from(now_of(connection))
    return changed(connection, job, runner, {**values, "lease": lease})


def changed(connection: Connection, job: Job, runner: str, values: Mapping[str, Any]) -> bool:
    """Change a simulation that a runner holds; False if it holds it no more."""
    held = and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.runner == runner)
    return connection.execute(update(jobs).where(held).values(values)).rowcount == 1
