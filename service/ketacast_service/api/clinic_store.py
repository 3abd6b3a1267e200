"""Stored clinics: each belongs to the client that made it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, insert, select, update

from ketacast.updating.profile import parse_clinic
from ketacast_service.database import reading, writing
from ketacast_service.errors import ProblemError, store_problems
from ketacast_service.moments import new_id, utc_text
from ketacast_service.schema import clinic as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ketacast.updating import Clinic
    from ketacast_service.calls import Call
    from ketacast_service.state import Service


@dataclass(frozen=True, slots=True)
class Stored:
    """A clinic with what the store knows about it."""

    id: str
    clinic: Clinic
    created: str
    updated: str

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return _shown(self, summary_of(self.clinic))


def summary_of(clinic: Clinic) -> dict[str, Any]:
    """Return what is shown of a profile; its digest stands for all of it."""
    return {
        "label": clinic.label,
        "sha256": clinic.sha256,
        "n": clinic.n,
        "method": clinic.method,
        "model": clinic.model.to_dict(),
        "batches": [batch.label for batch in clinic.batches],
        "warnings": [notice.to_dict() for notice in clinic.notices()],
    }


def _shown(stored: Any, summary: dict[str, Any]) -> dict[str, Any]:
    return {"id": stored.id, **summary, "created": stored.created, "updated": stored.updated}


async def find_clinic(service: Service, identifier: str, call: Call) -> Stored:
    """Find a clinic of the asking client.

    Raises
    ------
    ProblemError
        "not-found", or "unavailable" if the store cannot be read.
    """
    found = await service.work.run(_find, service.engine, identifier, call.client.id)
    if found is None:
        raise ProblemError(
            "not-found",
            f"no clinic {identifier} belongs to this client; make one by POST /v1/clinics",
        )
    return found


async def list_clinics(
    service: Service, call: Call, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Return what is shown of the asking client's clinics, in the order of their ids."""
    return await service.work.run(_list, service.engine, call.client.id, after, limit)


def fresh(clinic: Clinic) -> Stored:
    """Return a new clinic as it will be stored."""
    now = utc_text()
    return Stored(new_id(), clinic, now, now)


def changed(before: Stored, clinic: Clinic) -> Stored:
    """Return a clinic with a new profile as it will be stored."""
    return Stored(before.id, clinic, before.created, utc_text())


async def add_clinic(service: Service, new: Stored, call: Call) -> None:
    """Store a new clinic."""
    await service.work.run(_add, service.engine, new, call.client.id)


async def replace_clinic(service: Service, before: Stored, after: Stored) -> None:
    """Store a clinic's new profile, if nobody has stored another meanwhile.

    Raises
    ------
    ProblemError
        "conflict" if somebody has.
    """
    if not await service.work.run(_replace, service.engine, before, after):
        raise ProblemError(
            "conflict",
            f"clinic {before.id} was changed by another request meanwhile; send this one again",
        )


def _find(engine: Engine, identifier: str, owner: str) -> Stored | None:
    wanted = select(table).where(table.c.id == identifier, table.c.owner == owner)
    with store_problems("stored clinics"), reading(engine) as connection:
        row = connection.execute(wanted).one_or_none()
    return None if row is None else _stored(row)


def _list(engine: Engine, owner: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    columns = (table.c.id, table.c.sha256, table.c.created, table.c.updated)
    wanted = select(*columns).where(table.c.owner == owner).order_by(table.c.id).limit(limit)
    if after is not None:
        wanted = wanted.where(table.c.id > after)
    with store_problems("stored clinics"), reading(engine) as connection:
        rows = connection.execute(wanted).all()
        return [_shown(row, _summary(connection, row)) for row in rows]


_summaries: OrderedDict[str, dict[str, Any]] = OrderedDict()
_MOST_SUMMARIES: Final = 4_096
"""Some 2 kB each; a profile has a hundred times as much and takes milliseconds to read."""


def _summary(connection: Connection, row: Any) -> dict[str, Any]:
    """Return the summary of a stored profile, made once."""
    known = _summaries.get(row.sha256)
    if known is None:
        wanted = select(table).where(table.c.id == row.id)
        known = summary_of(_stored(connection.execute(wanted).one()).clinic)
        _summaries[row.sha256] = known
        if len(_summaries) > _MOST_SUMMARIES:
            _summaries.popitem(last=False)
    return known


def _add(engine: Engine, new: Stored, owner: str) -> None:
    row = {
        "id": new.id,
        "owner": owner,
        "sha256": new.clinic.sha256,
        "profile": new.clinic.to_json(),
        "created": new.created,
        "updated": new.updated,
    }
    with store_problems("stored clinics"), writing(engine) as connection:
        connection.execute(insert(table), row)


def _replace(engine: Engine, before: Stored, after: Stored) -> bool:
    clinic = after.clinic
    change = (
        update(table)
        .where(table.c.id == before.id, table.c.sha256 == before.clinic.sha256)
        .values(sha256=clinic.sha256, profile=clinic.to_json(), updated=after.updated)
    )
    with store_problems("stored clinics"), writing(engine) as connection:
        return connection.execute(change).rowcount == 1


def _stored(row: Row[Any]) -> Stored:
    clinic = parse_clinic(row.profile.encode(), f"the stored profile of clinic {row.id}")
    return Stored(row.id, clinic, row.created, row.updated)
