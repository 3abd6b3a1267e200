"""Independent fits on several processes, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final, TypeVar

from ketacast.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the pieces done and their number."""

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_jobs() -> int:
    """Processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    n_jobs: int = 1,
    progress: Progress | None = None,
    stage: str = "",
) -> list[Result]:
    """Apply a function to every item; the results do not depend on `n_jobs`.

    Parameters
    ----------
    function : callable
        Of one item; importable, so that a new process finds it.
    items : sequence
        What it is applied to; picklable.
    n_jobs : int
        Processes, 1 or more; 1 stays in this process.
    progress : callable, optional
        Told after every piece.
    stage : str
        First argument of `progress`.

    Returns
    -------
    list
        Results in the order of the items.

    Raises
    ------
    InputError
        If `n_jobs` is not a whole number of 1 or more.
    """
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise InputError(f"n_jobs is {n_jobs!r}; give a whole number, 1 or more")
    results: list[Result] = []
    with _mapped(function, items, min(n_jobs, len(items))) as stream:
        for result in stream:
            results.append(result)
            if progress is not None:
                progress(stage, len(results), len(items))
    return results


@contextmanager
def _mapped(
    function: Callable[[Item], Result], items: Sequence[Item], n_jobs: int
) -> Iterator[Iterator[Result]]:
    if n_jobs <= 1:
        yield map(function, items)
        return
    # A forked child of a threaded numerical library may hang: start afresh.
    with _one_thread(), ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map(function, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread per process: more would fight for the same processors."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
