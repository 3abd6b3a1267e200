"""The commands ``ketacast-service keys create``, ``list`` and ``revoke``."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ketacast.errors import InputError
from ketacast_service.access import DEFAULT_SCOPES, SCOPES
from ketacast_service.moments import utc_text

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ketacast_service.security.key_table import KeyRecord
    from ketacast_service.settings import Settings

DEFAULT_LIFE: Final = "365d"
LONGEST_DAYS: Final = 3650
_DAYS: Final = re.compile("([1-9][0-9]{0,3})d")
_COLUMNS: Final = ("id", "name", "scopes", "state", "expires")

Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def add_parsers(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``keys`` and its commands to a command line.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        Where; each command sets ``run``, a function of the options that returns the exit code.
    """
    parser = commands.add_parser(
        "keys",
        help="make, list and revoke API keys",
        description="Make, list and revoke API keys.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make a key and print it once",
        description="Make a key. Standard output gets the key and nothing else; it is shown "
        "this once and cannot be had again.",
    )
    create.add_argument("--name", required=True, help="who holds the key, such as 'ward EHR'")
    create.add_argument(
        "--scopes",
        default=",".join(DEFAULT_SCOPES),
        help=f"comma-separated, out of {', '.join(SCOPES)} (default {','.join(DEFAULT_SCOPES)})",
    )
    create.add_argument(
        "--expires",
        default=DEFAULT_LIFE,
        metavar="DAYS|DATE",
        help=f"such as 90d, or the last day (UTC) as 2027-01-31 (default {DEFAULT_LIFE})",
    )
    create.set_defaults(run=create_key)
    listing = actions.add_parser(
        "list", help="list the keys, never their secrets", description="List the keys."
    )
    listing.add_argument("--json", action="store_true", help="print as JSON")
    listing.set_defaults(run=list_keys)
    revoke = actions.add_parser(
        "revoke",
        help="withdraw a key for good",
        description="Withdraw a key for good; every worker refuses it within keys_refresh_seconds.",
    )
    revoke.add_argument("id", metavar="ID", help="the key's 16 characters, not the key itself")
    revoke.set_defaults(run=revoke_key)
    for action in (create, listing, revoke):
        action.add_argument("--config", metavar="FILE", help="settings file (TOML)")


def create_key(options: argparse.Namespace) -> int:
    """Make a key and print it.

    Raises
    ------
    InputError
        If the expiry is not usable.
    ServiceError
        If name, scopes, server secret or database are not usable.
    """
    from ketacast_service.security.key_table import KeyRecord, insert_key  # noqa: PLC0415
    from ketacast_service.security.keys import mac_of, new_key  # noqa: PLC0415  # slow to import

    now = datetime.now(UTC)
    expires = expiry(options.expires, now)
    scopes = tuple(
        dict.fromkeys(word.strip() for word in options.scopes.split(",") if word.strip())
    )
    settings = _settings(options)
    server_secret = settings.server_secret()
    key_id, key = new_key()
    record = KeyRecord(key_id, options.name, scopes, utc_text(now), utc_text(expires), None)
    with _database(settings, is_new=True) as engine:
        insert_key(engine, record, mac_of(server_secret, key))
    print(
        f"key {key_id} for {options.name!r}: {', '.join(scopes)}; expires {utc_text(expires)}.\n"
        "It is shown this once. Keep it where only its holder can read it.",
        file=sys.stderr,
    )
    print(key)
    return 0


def list_keys(options: argparse.Namespace) -> int:
    """Print every key as text or JSON.

    Raises
    ------
    ServiceError
        If the database is not usable.
    """
    from ketacast_service.security.key_table import list_keys as all_keys  # noqa: PLC0415

    with _database(_settings(options)) as engine:
        records = all_keys(engine)
    now = datetime.now(UTC)
    if options.json:
        print(json.dumps([{**key.to_dict(), "state": key.state(now)} for key in records], indent=2))
    else:
        print(_table(records, now))
    return 0


def revoke_key(options: argparse.Namespace) -> int:
    """Withdraw a key.

    Raises
    ------
    ServiceError
        If there is no such key, it was withdrawn before, or the database is not usable.
    """
    from ketacast_service.security.key_table import revoke_key as withdraw  # noqa: PLC0415

    settings = _settings(options)
    with _database(settings) as engine:
        withdraw(engine, options.id, datetime.now(UTC))
    print(
        f"key {options.id} is revoked; every worker refuses it within "
        f"{settings.keys_refresh_seconds:g} s"
    )
    return 0


def expiry(text: str, now: datetime) -> datetime:
    """Return the moment a key expires.

    Parameters
    ----------
    text : str
        Days as ``90d``, or the last day on which the key counts, as ``2027-01-31`` (UTC).
    now : datetime
        The present.

    Raises
    ------
    InputError
        If it is neither, past, or more than ten years ahead.
    """
    days = _DAYS.fullmatch(text)
    if days is not None:
        found = now + timedelta(days=int(days[1]))
    else:
        try:
            found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
        except (ValueError, OverflowError):
            raise InputError(
                f"--expires {text!r} is neither days nor a date; give for example 90d or 2027-01-31"
            ) from None
    if not now < found <= now + timedelta(days=LONGEST_DAYS):
        raise InputError(
            f"--expires {text!r} is past or more than {LONGEST_DAYS} days ahead; give a nearer day"
        )
    return found


def _settings(options: argparse.Namespace) -> Settings:
    from ketacast_service.server import use_config  # noqa: PLC0415  # slow to import
    from ketacast_service.settings import load_settings  # noqa: PLC0415

    use_config(options.config)
    return load_settings()


@contextlib.contextmanager
def _database(settings: Settings, *, is_new: bool = False) -> Iterator[Engine]:
    """Open the database; the first key may come before the first start of the service."""
    from ketacast_service.database import check_schema, migrate, open_engine  # noqa: PLC0415

    engine = open_engine(settings.database(), timeout=settings.store_timeout_seconds, create=is_new)
    try:
        if is_new:
            migrate(engine)
        else:
            check_schema(engine)
        yield engine
    finally:
        engine.dispose()


def _table(records: Sequence[KeyRecord], now: datetime) -> str:
    rows = [_COLUMNS] + [
        (key.id, key.name, ",".join(key.scopes), key.state(now), (key.expires or "never")[:16])
        for key in records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
