"""Yardsticks in processes of their own, asked one line at a time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from fits_data import Numbers

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Worker:
    """A process that fits, or times fits, when told to.

    It first prints ``yardstick NAME VERSION TASK...`` or ``absent NAME`` for each package,
    then ``ready``. It answers ``numbers NAME TASK`` by ``ok KEY=VALUE,VALUE ...``,
    ``time NAME TASK LOOPS`` by ``ok SECONDS`` and failures by ``error MESSAGE``.
    """

    def __init__(self, command: list[str], directory: Path) -> None:
        self._process = subprocess.Popen(
            [*command, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self.versions: dict[str, str] = {}
        self.tasks: dict[str, set[str]] = {}
        self.absent: list[str] = []
        while (words := self._read().split()) != ["ready"]:
            if words[0] == "absent":
                self.absent.append(words[1])
            else:
                self.versions[words[1]] = words[2]
                self.tasks[words[1]] = set(words[3:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def numbers(self, name: str, task: str) -> Numbers:
        """Fit once and give the results."""
        numbers: Numbers = {}
        for item in self._asked(f"numbers {name} {task}").split():
            key, values = item.split("=")
            numbers[key] = np.array([float(value) for value in values.split(",")])
        return numbers

    def seconds(self, name: str, task: str, loops: int) -> float:
        """Mean processor time of one of `loops` calls."""
        return float(self._asked(f"time {name} {task} {loops}"))

    def _asked(self, request: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        status, _, rest = self._read().partition(" ")
        if status != "ok":
            raise RuntimeError(f"{request}: {rest}")
        return rest

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended early")
        return line.rstrip("\n")
