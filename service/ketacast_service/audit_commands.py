"""The commands ``ketacast-service audit verify``, ``export`` and ``purge``."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from ketacast.errors import InputError
from ketacast_service.moments import utc_text

if TYPE_CHECKING:
    from sqlalchemy import Engine

BROKEN: Final = 5
"""Exit code of `verify` when the chain is not intact."""
_HASH: Final = re.compile("[0-9a-f]{64}")

Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def add_parsers(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``audit`` and its commands to a command line.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        Where; each command sets ``run``, a function of the options that returns the exit code.
    """
    parser = commands.add_parser(
        "audit",
        help="verify, export and purge the audit trail",
        description="Verify, export and purge the record of every answer.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_verify(actions)
    _add_export(actions)
    _add_purge(actions)


def _add_verify(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "verify",
        help="recompute the chain and say where it first breaks",
        description="Recompute every hash from the oldest record to the newest and check every "
        "output. Exit code 0 if all is intact, 5 if not.",
    )
    parser.add_argument("--head", metavar="HASH", help="a head noted earlier, which must occur")
    parser.add_argument("--file", metavar="FILE", help="check an export, without the database")
    parser.add_argument(
        "--filtered",
        action="store_true",
        help="with --file: records may be missing in between, as in an export of one client",
    )
    _add_config(parser)
    parser.set_defaults(run=verify)


def _add_export(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "export",
        help="write the records as lines of JSON",
        description="Write records with inputs and outputs as JSON, one line each.",
    )
    parser.add_argument("--out", metavar="FILE", help="a new file (default: standard output)")
    parser.add_argument("--since", metavar="TIME", help="from then on (date or time, UTC)")
    parser.add_argument("--until", metavar="TIME", help="before then (date or time, UTC)")
    parser.add_argument("--client", help="only that client's records, such as key:4f2a...")
    _add_config(parser)
    parser.set_defaults(run=export)


def _add_purge(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "purge",
        help="remove the oldest records",
        description="Remove the beginning of the chain that is older than a time. What is kept "
        "stays verifiable, and the purge is itself recorded.",
    )
    age = parser.add_mutually_exclusive_group(required=True)
    age.add_argument("--before", metavar="TIME", help="records before then (date or time, UTC)")
    age.add_argument("--days", type=int, help="records older than so many days")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_config(parser)
    parser.set_defaults(run=purge)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="settings file (TOML)")


def verify(options: argparse.Namespace) -> int:
    """Check the chain in the database or in an export; 0 if intact, 5 if not.

    Raises
    ------
    InputError
        If the options cannot be used, or the file cannot be read.
    ServiceError
        If the database cannot be read.
    """
    from ketacast_service.audit import verification  # noqa: PLC0415  # SQLAlchemy is slow

    if options.head is not None and not _HASH.fullmatch(options.head):
        raise InputError(
            f"--head is {options.head!r}; give the 64 hexadecimal digits that verify printed"
        )
    if options.filtered and options.file is None:
        raise InputError("--filtered goes with --file; leave it out to check the database")
    with _progress("checked") as progress:
        if options.file is None:
            with _database(options) as engine:
                report = verification.verify_database(engine, head=options.head, progress=progress)
        else:
            with _opened(options.file) as lines:
                report = verification.verify_export(
                    lines, head=options.head, filtered=options.filtered, progress=progress
                )
    print(report)
    return 0 if report.problem is None else BROKEN


def export(options: argparse.Namespace) -> int:
    """Write records as lines of JSON.

    Raises
    ------
    InputError
        If the options cannot be used, or the file is there already or cannot be written.
    ServiceError
        If the database cannot be read.
    """
    from ketacast_service.audit.exporting import export_lines  # noqa: PLC0415
    from ketacast_service.database import reading  # noqa: PLC0415

    since, until = _moment("--since", options.since), _moment("--until", options.until)
    number = 0
    with (
        _database(options) as engine,
        reading(engine) as connection,
        _written(options.out) as out,
        _progress("written") as progress,
        contextlib.closing(
            export_lines(connection, since=since, until=until, client=options.client)
        ) as lines,
    ):
        for line in lines:
            out.write(line + "\n")
            number += 1
            if progress is not None and number % 1000 == 0:
                progress(number, 0)
        out.flush()
    print(f"{number} records exported", file=sys.stderr)
    return 0


def purge(options: argparse.Namespace) -> int:
    """Remove old records, after asking; 1 if the answer is not yes.

    Raises
    ------
    InputError
        If the options cannot be used, or nobody can be asked.
    ServiceError
        If the database cannot be written, or the time lies in the future.
    """
    from ketacast_service.audit import maintenance  # noqa: PLC0415

    before = _moment("--before", options.before) or _days_ago(options.days)
    if not options.yes and not sys.stdin.isatty():
        raise InputError("a purge cannot be undone and nobody can be asked here; add --yes")
    with _database(options) as engine:
        number = maintenance.count_older(engine, before)
        if number and not options.yes:
            print(f"{number} records before {before} will be removed for good. Type yes: ", end="")
            if input().strip() != "yes":
                print("nothing was removed")
                return 1
        purged = maintenance.purge(engine, before)
    print(f"removed {purged.records} records before {before} and {purged.outputs} outputs")
    return 0


@contextlib.contextmanager
def _database(options: argparse.Namespace) -> Iterator[Engine]:
    """Open the database of the settings, which must be there with the newest schema."""
    from ketacast_service.database import check_schema, open_engine  # noqa: PLC0415
    from ketacast_service.server import use_config  # noqa: PLC0415
    from ketacast_service.settings import load_settings  # noqa: PLC0415

    use_config(options.config)
    settings = load_settings()
    engine = open_engine(settings.database(), timeout=settings.store_timeout_seconds, create=False)
    try:
        check_schema(engine)
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    try:
        with Path(name).open(encoding="utf-8", errors="surrogateescape") as lines:
            yield lines
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}; correct the path") from error


@contextlib.contextmanager
def _written(name: str | None) -> Iterator[TextIO]:
    """Give a file that is complete or not there; records are not for everyone to read."""
    if name is None:
        yield sys.stdout
        return
    path, part = Path(name), Path(f"{name}.part")
    if path.exists():
        raise InputError(f"{name} is there already; give the name of a new file")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with part.open("w", encoding="utf-8") as out:
            yield out
        part.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {name}: {error.strerror}; give another place") from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(verb: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give what shows progress on a terminal, and None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(done: int, total: int) -> None:
        text = f"{verb} {done}" + (f" of {total}" if total else "")
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _moment(option: str, text: str | None) -> str | None:
    """Return a date or time as records have it; without an offset it is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return utc_text(found.replace(tzinfo=UTC) if found.tzinfo is None else found)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{option} is {text!r}; give a date such as 2026-01-31 or a time such as "
            "2026-01-31T08:00:00Z"
        ) from error


def _days_ago(days: int) -> str:
    now = datetime.now(UTC)
    if not 1 <= days <= (now - datetime.min.replace(tzinfo=UTC)).days:
        raise InputError(f"--days is {days}; give a number of days from 1 on")
    return utc_text(now - timedelta(days=days))
