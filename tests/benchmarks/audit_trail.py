"""CPU and speed of the audit trail: hash, insert, commit and future of each record.

Run: python tests/benchmarks/audit_trail.py [URL]

Without a URL it writes an SQLite file in a directory of its own. "bare" is the same work by
the driver alone in one thread, without chain, futures and hand-over: what durability costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256

from sqlalchemy import Engine

from ketacast_service.audit import AuditTrail, Entry
from ketacast_service.audit.store import Statements
from ketacast_service.database import driver_cursor, migrate, open_engine, writing
from ketacast_service.moments import new_id, utc_text

RECORDS = 20_000
OUTPUTS = [b'{"answer":%d,"rest":"%s"}' % (number, b"x" * 1500) for number in range(2000)]
DIGESTS = [sha256(output).hexdigest() for output in OUTPUTS]


def make_entries(count: int) -> list[Entry]:
    """Return entries with answers that mostly were given before."""
    return [
        Entry(
            new_id(),
            utc_text(),
            "prediction",
            "key:abcdefghijkl",
            "a" * 64,
            new_id(),
            b'{"failed_trials":6,"infusions":6,"rated_by":"self"}',
            DIGESTS[number % len(DIGESTS)],
            OUTPUTS[number % len(OUTPUTS)],
        )
        for number in range(count)
    ]


@contextlib.contextmanager
def timed(name: str) -> Iterator[None]:
    """Print what each of the records took."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<28} {cpu / RECORDS * 1e6:>7.1f} us CPU {RECORDS / wall:>9,.0f} records/s")


async def append(engine: Engine, size: int) -> None:
    """Append in groups of that size, each after the one before is durable."""
    trail = AuditTrail(engine, timeout=10)
    trail.start()
    await asyncio.gather(*map(trail.append, make_entries(len(OUTPUTS))))
    entries = make_entries(RECORDS)
    with timed(f"groups of {size}"):
        for start in range(0, RECORDS, size):
            futures = [trail.append(entry) for entry in entries[start : start + size]]
            for future in futures:
                await future
    await trail.close()


def bare(engine: Engine, size: int) -> None:
    """Insert rows by the driver, hashes given; leaves no chain."""
    statements = Statements(engine.dialect.name)
    rows = [
        (number, e.id, e.time, e.kind, e.client, e.model_sha256, e.request_id, e.input, "", "")
        for number, e in enumerate(make_entries(RECORDS), 1_000_000_000)
    ]
    with timed(f"bare, groups of {size}"):
        for start in range(0, RECORDS, size):
            with writing(engine) as connection, driver_cursor(connection) as cursor:
                statements.add_rows(cursor, rows[start : start + size])


def main() -> None:
    """Measure one database."""
    with tempfile.TemporaryDirectory() as directory:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{directory}/service.db"
        engine = open_engine(url, timeout=10)
        migrate(engine)
        for size in (1, 10, 25, 100, 500):
            asyncio.run(append(engine, size))
        if engine.dialect.name == "sqlite":
            bare(engine, 25)
        engine.dispose()


if __name__ == "__main__":
    main()
