"""Run patients one by one: with the compiled kernel where there is one, else with NumPy.

Both give the same counts to the last bit; the kernel is some twenty times faster.
"""

from __future__ import annotations

import importlib
import importlib.util
import mmap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import MissingDependencyError
from ketacast.simulation.automaton import JointStep
from ketacast.simulation.lives import Histories, Tally, empty_tally, simulate_numpy
from ketacast.simulation.sizes import MOST_HELD
from ketacast.simulation.tables import CourseTables, LaterTables

Int = NDArray[np.int64]
Numbers = NDArray[Any]

RUN: Final = 1 << 16
"""Patients of a run at most: what a thread takes at a time."""

ONE_THREAD_BELOW: Final = 1_000_000
"""Threads wait for each other; on a busy machine that costs more than they bring."""


@lru_cache(maxsize=1)
def has_kernel() -> bool:
    """Tell whether numba is installed and may make code.

    A hardened service may forbid memory that is both written and executed; there numba would
    end the process.
    """
    return importlib.util.find_spec("numba") is not None and _may_make_code()


def _may_make_code() -> bool:
    if not hasattr(mmap, "PROT_EXEC"):  # not on every system
        return True
    flags = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=flags).close()
    except OSError:
        return False
    return True


def simulate_runs(
    runs: Int,
    course: CourseTables,
    later: LaterTables,
    key: tuple[int, int],
    *,
    threads: int = 1,
    histories: Histories | None = None,
) -> Tally:
    """Simulate runs of patients.

    Parameters
    ----------
    runs : (R, 5) int array
        From :func:`ketacast.simulation.tables.make_runs`.
    course, later : CourseTables, LaterTables
    key : (int, int)
        Seed and draw.
    threads : int
        Threads at most; below a million patients one is used.
    histories : Histories, optional
        Filled in, with one thread.

    Returns
    -------
    Tally
        The same for any number of threads.
    """
    if not has_kernel():
        return simulate_numpy(runs, course, later, key, histories)
    lives = _kernel()
    tables = (
        course.cuts, course.target, course.leaves, course.stays, np.uint32(course.dropout),
        np.uint32(course.shift),
    )  # fmt: skip
    after = (
        later.offset, later.week, later.maintained, later.remaining, later.times,
        later.again_weeks, later.success,
    )  # fmt: skip
    words = np.array(key, np.uint32)
    patients = int((runs[:, 4] - runs[:, 3]).sum())
    if histories is None and threads > 1:
        threads = _fitting(threads, course, later)
    many = histories is None and threads > 1 and patients >= ONE_THREAD_BELOW
    tally = empty_tally(course, later, threads if many else 1)
    counts = (tally.seen, tally.kept, tally.lost, tally.begun)
    shared = (tables, later.survival, after, words, counts)
    if many:
        _in_threads(lives.simulate_parallel, threads, (runs, *shared))
    elif histories is None:
        empty = (
            np.empty((0, 0), np.uint8),
            np.empty((0, 0), np.int32),
            np.empty((0, 0, 0), np.uint8),
        )
        lives.simulate(runs, *shared, *empty)
    else:
        for run in runs:
            own = slice(int(run[3] - runs[0, 3]), int(run[4] - runs[0, 3]))
            part = (histories.statuses[own], histories.codes[:, own].copy(), histories.weekly[own])
            lives.simulate(run[None], *shared, *part)
            histories.codes[:, own] = part[1]
    return Tally(*(one.sum(axis=0) for one in counts))


def _kernel() -> Any:
    try:
        return importlib.import_module("ketacast.simulation.kernel.lives")
    except RuntimeError as error:  # numba finds no directory in which to keep what it compiles
        raise MissingDependencyError(
            f"the compiled kernel cannot be kept on disk ({error}); set NUMBA_CACHE_DIR to a "
            "directory that can be written to"
        ) from error


def _fitting(threads: int, course: CourseTables, later: LaterTables) -> int:
    """Threads that there are, and whose counts fit into memory, each having its own."""
    import numba  # noqa: PLC0415

    config: Any = numba.config
    one = empty_tally(course, later)
    size = sum(array.size for array in (one.seen, one.kept, one.lost, one.begun))
    return max(1, min(threads, int(config.NUMBA_NUM_THREADS), MOST_HELD // size))


def _in_threads(kernel: Any, threads: int, arguments: tuple[Any, ...]) -> None:
    import numba  # noqa: PLC0415

    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        kernel(*arguments)
    finally:
        numba.set_num_threads(before)


def stack_steps(steps: Sequence[JointStep], states: int) -> tuple[Numbers, Numbers]:
    """Put the moves of all infusions into arrays of one width; see :func:`lives.flows_of`."""
    count = steps[0].staying.shape[0]
    staying = np.zeros((count, len(steps), states, 3), np.bool_)
    leaving = np.zeros((count, len(steps), states, 3, 2), np.bool_)
    for k, step in enumerate(steps):
        size = step.target.shape[0]
        staying[:, k, :size], leaving[:, k, :size] = step.staying, step.leaving
    return staying, leaving
