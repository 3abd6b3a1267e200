"""Write groups of entries, one transaction each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine

from ketacast_service.audit.chain import Entry
from ketacast_service.audit.store import Head, Statements, add, add_outputs, lock_head
from ketacast_service.database import driver_cursor, writing

MOST_KNOWN: Final = 32_768
"""Digests of stored outputs that are remembered: about 5 MB."""


class ChainWriter:
    """Extends the chain; for one thread, beside any number of other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect.name)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._seen = (0, 0)

    def write(self, entries: Sequence[Entry]) -> None:
        """Write all entries or none; when it returns they are durable.

        Raises
        ------
        StoreDownError
            If the database cannot be written now.
        Exception
            If an entry cannot be stored, for example because its identifier was used before.
        """
        try:
            with writing(self._engine) as connection, driver_cursor(connection) as cursor:
                head = lock_head(cursor, self._statements)
                self._forget_after_purge(head)
                used = {entry.output_sha256: entry.output for entry in entries}
                new = [item for item in used.items() if item[0] not in self._known]
                if new:
                    add_outputs(cursor, self._statements, new)
                end, _ = add(cursor, self._statements, head, entries)
        except BaseException:
            self._known.clear()  # what the database holds now is not certain
            raise
        self._seen = (end, head.purges)
        self._remember(used)

    def touch(self) -> None:
        """Write nothing new, durably: proof that a record could be written now."""
        with writing(self._engine) as connection, driver_cursor(connection) as cursor:
            cursor.execute(self._statements.touch)

    def _forget_after_purge(self, head: Head) -> None:
        """Forget what is stored: a purge removes outputs, a restored back-up may lack some."""
        seq, purges = self._seen
        if head.purges != purges or head.seq < seq:
            self._known.clear()

    def _remember(self, used: dict[str, bytes]) -> None:
        known = self._known
        for digest in used:
            known[digest] = None
            known.move_to_end(digest)
        while len(known) > MOST_KNOWN:
            known.popitem(last=False)
