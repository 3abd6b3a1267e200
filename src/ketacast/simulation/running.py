"""Run tasks here, in processes, or on a Dask cluster; keep what is done.

The order in which tasks are finished, and where, changes no bit of the result.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from ketacast.errors import InputError, KetacastError, MissingDependencyError
from ketacast.simulation.checkpoints import Checkpoint
from ketacast.simulation.engines import measured_class_error
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.results import SimulationResult
from ketacast.simulation.specification import Specification
from ketacast.simulation.strategies import whole
from ketacast.simulation.tasks import (
    PATIENTS,
    Arrays,
    Context,
    Gathering,
    Task,
    make_context,
    make_tasks,
    plan_of,
    run_task,
)

Report = Callable[[int, int], None]
"""Told how many patient-courses are done, and how many there are in all."""

Done = Iterator[tuple[Task, Arrays]]

AHEAD: Final = 4
"""Tasks handed out for each worker: enough that none waits, few enough to hold."""

MOST_BROKEN: Final = 3
"""Times that processes are started anew without a task finished in between."""

MOST_WORKERS: Final = 1024
MOST_AT_ONCE: Final = 2**32
"""Patients of a task at most: some two minutes."""

MOST_VALUES: Final = 2**27
"""Outcomes that a result may hold: 1 GiB."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Where tasks run.

    Attributes
    ----------
    workers : int
        Processes; 1 runs in this one. With a scheduler, of a local cluster.
    threads : int
        Threads of the kernel in each worker.
    scheduler : str
        "" for processes; "local" for a Dask cluster on this machine; the address of one.
    patients_at_once : int
        Patients of a task of the engine of individuals.
    """

    workers: int = 1
    threads: int = 1
    scheduler: str = ""
    patients_at_once: int = PATIENTS

    def __post_init__(self) -> None:
        whole("workers", self.workers, 1, MOST_WORKERS)
        whole("threads", self.threads, 1, MOST_WORKERS)
        whole("patients_at_once", self.patients_at_once, 1, MOST_AT_ONCE)


def simulate(
    specification: Specification,
    *,
    model: Path | str | None = None,
    resources: Resources | None = None,
    directory: Path | str | None = None,
    report: Report | None = None,
) -> SimulationResult:
    """Run a simulation.

    Parameters
    ----------
    specification : Specification
    model : path, optional
        Directory of the model; the model that comes with the package by default.
    resources : Resources, optional
        This process and one thread by default.
    directory : path, optional
        Keeps finished tasks; a run that was cut off goes on from there.
    report : callable, optional
        Called after each task with the patient-courses done and in all; what it raises stops
        the run, with finished tasks kept in `directory`.

    Returns
    -------
    SimulationResult
        The same bits for any resources.

    Raises
    ------
    InputError
        If rules need more than the engine carries, or the directory is another run's.
    ArtifactError
        If the model or a clinic's profile is missing or damaged.
    MissingDependencyError
        If a scheduler is asked for without the extra ``cluster``.
    KetacastError
        If workers die again and again.
    """
    means = resources or Resources()
    _check_size(specification)
    tasks = make_tasks(specification, means.patients_at_once)
    context = make_context(specification, model)
    plan = plan_of(context)
    checkpoint = Checkpoint(Path(directory), context) if directory is not None else None
    gathering = Gathering(plan)
    open_tasks, done = [], 0
    total = sum(map(_work, tasks))
    for task in tasks:
        found = checkpoint.load(task) if checkpoint else None
        if found is None:
            open_tasks.append(task)
        else:
            gathering.add(task, found)
            done += _work(task)
    for task, arrays in execute(context, open_tasks, means):
        if checkpoint:
            checkpoint.save(task, arrays)
        gathering.add(task, arrays)
        done += _work(task)
        if report:
            report(done, total)
    error = 0.0 if specification.engine == "expected" else measured_class_error(plan)
    return SimulationResult.make(plan, gathering.values(), error)


def execute(context: Context, tasks: list[Task], resources: Resources) -> Done:
    """Run tasks and give each one's result as soon as it is there."""
    if resources.scheduler:
        return _on_cluster(context, tasks, resources)
    if resources.workers > 1 and len(tasks) > 1:
        return _in_processes(context, tasks, resources)
    return ((task, run_task(context, task, resources.threads)) for task in tasks)


def _work(task: Task) -> int:
    return (task.last - task.first) * (task.high - task.low)


def values_of(specification: Specification) -> int:
    """Return how many outcomes a result holds: those of every draw, half, strategy and week."""
    halves = 1 if specification.engine == "expected" else 2
    each = (specification.horizon_weeks + 1) * len(outcome_names(specification))
    return specification.draws * halves * len(specification.strategies) * each


def _check_size(specification: Specification) -> None:
    size = values_of(specification)
    if size > MOST_VALUES:
        raise InputError(
            f"the result would hold {size:,} values, at most {MOST_VALUES:,} are held; give fewer "
            "draws, fewer strategies or a shorter horizon_weeks"
        )


def _in_processes(context: Context, tasks: list[Task], resources: Resources) -> Done:
    # Started afresh, not forked: threads of the parent would be copied in the middle of work.
    left, broken = dict.fromkeys(tasks), 0
    while left:
        pool = ProcessPoolExecutor(resources.workers, mp_context=get_context("spawn"))
        try:
            for task, arrays in _windowed(pool, context, list(left), resources):
                del left[task]
                broken = 0
                yield task, arrays
        except BrokenProcessPool as error:
            broken += 1
            if broken == MOST_BROKEN:
                raise KetacastError(
                    f"worker processes ended {broken} times without finishing a task, perhaps for "
                    "want of memory; give fewer --workers or fewer --patients-at-once, and in a "
                    'script call simulate below `if __name__ == "__main__":`'
                ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _windowed(pool: Executor, context: Context, tasks: list[Task], resources: Resources) -> Done:
    waiting = deque(tasks)
    running: dict[Future[Arrays], Task] = {}
    while waiting or running:
        while waiting and len(running) < AHEAD * resources.workers:
            task = waiting.popleft()
            running[pool.submit(run_task, context, task, resources.threads)] = task
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for one in finished:
            yield running.pop(one), one.result()


def _on_cluster(context: Context, tasks: list[Task], resources: Resources) -> Done:
    """Hand tasks to Dask, a few ahead of each worker.

    A worker that dies costs the time of its tasks: the scheduler gives them to another.
    """
    with _client(resources) as client:
        waiting: Iterable[Task] = iter(tasks)

        def submit(task: Task) -> Any:
            # Results are not shared between runs: the key is the task's own and not cached.
            return client.submit(
                run_task, context, task, resources.threads, pure=False, retries=3,
                key=f"ketacast-{task.name}-{id(tasks)}-{os.getpid()}",
            )  # fmt: skip

        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        running = {}
        arriving = _distributed().as_completed()
        for task in waiting:
            future = submit(task)
            running[future.key] = task
            arriving.add(future)
            if len(running) >= AHEAD * workers:
                break
        for future in arriving:
            yield running.pop(future.key), _arrived(future)
            future.release()
            following = next(iter(waiting), None)
            if following is not None:
                added = submit(following)
                running[added.key] = following
                arriving.add(added)


def _arrived(future: Any) -> Arrays:
    distributed = _distributed()
    try:
        arrays: Arrays = future.result()
    except (distributed.KilledWorker, distributed.comm.CommClosedError, CancelledError) as error:
        raise KetacastError(
            f"the cluster lost a task for good ({error}); finished tasks are kept: go on with "
            "`ketacast simulate resume`"
        ) from error
    return arrays


@contextmanager
def _client(resources: Resources) -> Iterator[Any]:
    distributed = _distributed()
    if resources.scheduler != "local":
        try:
            client = distributed.Client(resources.scheduler, timeout="20s")
        except (OSError, ValueError) as error:
            raise InputError(
                f"no scheduler answers at {resources.scheduler!r} ({error}); start one with "
                "`dask scheduler`, or give --scheduler local"
            ) from error
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=resources.workers, threads_per_worker=1, dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingDependencyError(
            "a scheduler needs Dask: pip install 'ketacast[cluster]'"
        ) from error
