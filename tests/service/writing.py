"""A process that appends to the audit trail and prints each id once it is acknowledged.

Run as ``python writing.py URL CLIENTS COUNT``: that many clients at once, each with COUNT
records one after the other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from hashlib import sha256

from ketacast_service.audit import AuditTrail, Entry
from ketacast_service.database import migrate, open_engine
from ketacast_service.moments import new_id, utc_text


async def client(trail: AuditTrail, count: int) -> None:
    for number in range(count):
        output = b'{"answer":%d}' % (number % 100)
        entry = Entry(
            id=new_id(),
            time=utc_text(),
            kind="prediction",
            client=f"key:{os.getpid()}",
            model_sha256="a" * 64,
            request_id="",
            input=b'{"number":%d}' % number,
            output_sha256=sha256(output).hexdigest(),
            output=output,
        )
        await trail.append(entry)
        os.write(1, f"{entry.id}\n".encode())


async def main(url: str, clients: int, count: int) -> None:
    engine = open_engine(url, timeout=20)
    migrate(engine)
    trail = AuditTrail(engine, timeout=20)
    trail.start()
    await asyncio.gather(*[client(trail, count) for _ in range(clients)])
    await trail.close()
    engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
