"""The table of API keys: make, list, revoke, read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine, insert, select, update

from ketacast_service.access import SCOPES
from ketacast_service.database import reading, writing
from ketacast_service.errors import ServiceError
from ketacast_service.moments import utc_text
from ketacast_service.schema import api_key

LONGEST_NAME: Final = 80
_ID: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as the service checks it.

    Attributes
    ----------
    id : str
        Names the key; no secret.
    mac : str
        What the table keeps of the secret part.
    scopes : frozenset of str
        What its holder may do.
    expires : float
        Seconds since 1970; infinite if never.
    is_revoked : bool
        Whether it was withdrawn.
    """

    id: str
    mac: str
    scopes: frozenset[str]
    expires: float
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key as an operator sees it; times as :func:`ketacast_service.moments.utc_text`."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: str
    expires: str | None
    revoked: str | None

    def state(self, now: datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        is_over = self.expires is not None and self.expires <= utc_text(now)
        return "expired" if is_over else "active"

    def to_dict(self) -> dict[str, object]:
        """Plain dictionary."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
        }


def read_rows(engine: Engine) -> tuple[KeyRow, ...]:
    """Return every key, revoked ones too, in the order of their ids.

    Raises
    ------
    StoreDownError
        If the database does not answer.
    """
    query = select(
        api_key.c.id, api_key.c.mac, api_key.c.scopes, api_key.c.expires, api_key.c.revoked
    ).order_by(api_key.c.id)
    with reading(engine) as connection:
        found = connection.execute(query).all()
    return tuple(
        KeyRow(row.id, row.mac, frozenset(row.scopes.split()), _seconds(row.expires),
               row.revoked is not None)
        for row in found
    )  # fmt: skip


def list_keys(engine: Engine) -> list[KeyRecord]:
    """Return every key without what proves it, the oldest first."""
    columns = (
        api_key.c.id, api_key.c.name, api_key.c.scopes, api_key.c.created, api_key.c.expires,
        api_key.c.revoked,
    )  # fmt: skip
    with reading(engine) as connection:
        found = connection.execute(select(*columns).order_by(api_key.c.created)).all()
    return [
        KeyRecord(
            row.id, row.name, tuple(row.scopes.split()), row.created, row.expires, row.revoked
        )
        for row in found
    ]


def insert_key(engine: Engine, record: KeyRecord, mac: str) -> None:
    """Add a key.

    Raises
    ------
    ServiceError
        If its name or scopes cannot be used.
    """
    if not record.name.strip() or len(record.name) > LONGEST_NAME or not record.name.isprintable():
        raise ServiceError(
            f"the name {record.name[:LONGEST_NAME]!r} cannot be used; give 1 to {LONGEST_NAME} "
            "printable characters that say who holds the key"
        )
    unknown = sorted(set(record.scopes) - set(SCOPES))
    if unknown or not record.scopes:
        raise ServiceError(
            f"scopes {', '.join(map(repr, unknown)) or 'are missing'}; "
            f"choose from {', '.join(SCOPES)}"
        )
    values = record.to_dict() | {"scopes": " ".join(record.scopes), "mac": mac}
    with writing(engine) as connection:
        connection.execute(insert(api_key).values(**values))


def revoke_key(engine: Engine, key_id: str, now: datetime) -> None:
    """Withdraw a key; its row stays, so that its id still says whose it was.

    Raises
    ------
    ServiceError
        If there is no such key, or it was withdrawn before.
    """
    # A whole key given by mistake would be a secret in an error message, so only an id is shown.
    if _ID.fullmatch(key_id) is None:
        raise ServiceError(
            "that is no id of a key; give its 16 characters as `keys list` shows them, "
            "not the key itself"
        )
    with writing(engine) as connection:
        change = update(api_key).where(api_key.c.id == key_id, api_key.c.revoked.is_(None))
        if connection.execute(change.values(revoked=utc_text(now))).rowcount:
            return
        known = connection.execute(select(api_key.c.revoked).where(api_key.c.id == key_id)).first()
    if known is None:
        raise ServiceError(f"there is no key {key_id}; `keys list` shows those there are")
    raise ServiceError(f"key {key_id} was revoked before, at {known.revoked}; nothing to do")


def _seconds(text: str | None) -> float:
    if text is None:
        return float("inf")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("-inf")  # a row altered by hand must not stop the other keys
