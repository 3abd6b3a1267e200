"""Progress of long commands, on standard error."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line per stage on a terminal, a line every tenth elsewhere."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps of a stage are done."""
        if stage != self._stage:
            self._stage, self._start = stage, time.perf_counter()
        spent = time.perf_counter() - self._start
        left = spent / max(done, 1) * (total - done)
        line = f"{stage}: {done} of {total}, {left:.0f} s left"
        if sys.stderr.isatty():
            ending = "\n" if done == total else ""
            print(f"\r\x1b[K{line}", end=ending, file=sys.stderr, flush=True)
        elif done == total or done % max(1, total // 10) == 0:
            print(line, file=sys.stderr, flush=True)
