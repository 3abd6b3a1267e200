"""Speed of the simulation, each goal as a ratio to something timed in the same run.

Run: python tests/benchmarks/simulation.py [--quick] [--full] [--json FILE]

Times are processor time of this process, so that waiting for a busy machine does not count;
what runs elsewhere (threads, Dask, a fresh process) is wall time and needs a quiet machine.
``--full`` simulates a billion individuals to measure the peak of memory (a minute).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from simulation_yardsticks import compile_c, plain_numpy, run_c

from ketacast.clinical.artifact import load_artifact
from ketacast.simulation import individuals
from ketacast.simulation.classes import class_chances
from ketacast.simulation.engines import later_rules, make_plan, run_counts, run_expected
from ketacast.simulation.individuals import RUN, simulate_runs
from ketacast.simulation.lives import simulate_numpy
from ketacast.simulation.running import Resources, simulate
from ketacast.simulation.specification import Cohort, Group, Specification
from ketacast.simulation.strategies import Maintenance, Stop, Strategy
from ketacast.simulation.tables import (
    CourseTables,
    LaterTables,
    course_tables,
    later_tables,
    make_runs,
)
from ketacast.simulation.tasks import Context, make_context, plan_of

KEY = (1, 3)
GROUPS = tuple(Group(f, rater, 1.0) for f in range(2, 12) for rater in ("self", "clinician"))
STRATEGIES = (Strategy("four", 4), Strategy("six", 6), Strategy("eight", 8))
ONE = Strategy("eight", 8, stop=(Stop(3, 3),), maintenance=Maintenance(2, 1.0))


def least(
    task: Callable[[], object], rounds: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Least time of one call, after one that warms up."""
    task()
    times = []
    for _ in range(rounds):
        start = clock()
        task()
        times.append(clock() - start)
    return min(times)


def counting(rounds: int) -> dict[str, float]:
    """One draw of a billion patients by counts, and the binomial numbers it cannot do without."""
    spec = Specification(Cohort(GROUPS, counted=False), STRATEGIES, 26, 10**9, draws=16)
    plan = make_plan(load_artifact(None), spec)
    own = least(lambda: run_counts(plan, [3]), rounds)
    rng = np.random.default_rng(1)
    n, p = np.full(100_000, 10**5), np.full(100_000, 0.3)
    yardstick = least(lambda: rng.binomial(n, p), rounds)
    exact = make_plan(load_artifact(None), spec)
    expected = least(lambda: run_expected(exact, range(16)), rounds) / 16
    return {"seconds": own, "yardstick": yardstick, "expected": expected}


def kernel_tables() -> tuple[CourseTables, LaterTables]:
    """Tables of one cell and strategy."""
    spec = Specification(
        Cohort((Group(6, "self", 1.0),), counted=False), (ONE,), 26, 10**6, draws=16,
        engine="individuals",
    )  # fmt: skip
    plan = make_plan(load_artifact(None), spec)
    parameters = plan.source.parameters([3])
    chances = class_chances(parameters, plan.source.clinic_of_cell, 64)[:, 0]
    course = course_tables(plan.steps, chances, 0.0, longest=plan.longest)
    return course, later_tables(later_rules(plan, parameters), 0.0)


def kernels(patients: int, rounds: int, directory: Path) -> dict[str, float]:
    """Nanoseconds for each patient of the kernel and of its yardsticks."""
    course, later = kernel_tables()
    runs = make_runs(np.array([[patients]]), np.zeros(1, np.int64), 0, patients, RUN)
    found = {}
    tally = simulate_runs(runs, course, later, KEY)
    function = compile_c(directory)
    if function is not None:
        other = run_c(function, course, later, patients, KEY)
        for name in ("seen", "kept", "lost"):
            assert (getattr(tally, name) == getattr(other, name)).all(), name
        # In turns: another load on the machine meets both.
        found["c"] = least(lambda: run_c(function, course, later, patients, KEY), rounds)
    found["kernel"] = least(lambda: simulate_runs(runs, course, later, KEY), rounds)
    few = 20_000  # its arrays then stay in the second cache, where NumPy is fastest
    part = make_runs(np.array([[few]]), np.zeros(1, np.int64), 0, few, RUN)
    found["numpy"] = least(lambda: plain_numpy(course, later, few), rounds) * patients / few
    found["reference"] = (
        least(lambda: simulate_numpy(part, course, later, KEY), rounds) * patients / few
    )
    found["two_threads"] = least(
        lambda: simulate_runs(runs, course, later, KEY, threads=2), rounds, time.perf_counter
    )
    found["one_thread_wall"] = least(
        lambda: simulate_runs(runs, course, later, KEY), rounds, time.perf_counter
    )
    return {name: 1e9 * value / patients for name, value in found.items()}


FIRST_CALL = """
import sys, time, resource
sys.path.insert(0, sys.argv[1])
from simulation import KEY, kernel_tables
from ketacast.simulation.individuals import RUN, simulate_runs
from ketacast.simulation.tasks import Context, make_context, plan_of
from ketacast.simulation.tables import make_runs
import numpy as np
course, later = kernel_tables()
n = int(sys.argv[2])
runs = make_runs(np.array([[n]]), np.zeros(1, np.int64), 0, n, RUN)
start = time.process_time()
simulate_runs(runs[:1], course, later, KEY)
first = time.process_time() - start
simulate_runs(runs, course, later, KEY)
print(first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def fresh_process(patients: int) -> tuple[float, float]:
    """Seconds of the first kernel call once cached, and GiB of memory at the peak."""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", FIRST_CALL, here, str(patients)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    first, peak = printed.split()
    return float(first), float(peak)


def workers(draws: int) -> dict[str, float]:
    """Seconds of the same individuals on one and on two Dask workers, start left out.

    Beside wall time, the processor time of the busier worker: what the wall time would be
    if nothing else ran here.
    """
    from distributed import Client, LocalCluster  # noqa: PLC0415

    spec = Specification(
        Cohort(GROUPS, counted=False), STRATEGIES, 26, 10**7, draws=draws, engine="individuals"
    )
    found = {}
    values = []
    for count in (1, 2):
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            resources = Resources(scheduler=cluster.scheduler_address, patients_at_once=10**7)
            # Every worker makes its plan and loads the kernel before the clock starts.
            simulate(replace(spec, draws=4 * count), resources=resources)
            client.run(make_ready, make_context(spec, None))
            before = client.run(time.process_time)
            start = time.perf_counter()
            values.append(simulate(spec, resources=resources).values)
            found[f"wall_{count}"] = time.perf_counter() - start
            after = client.run(time.process_time)
            found[f"busier_{count}"] = max(after[name] - before[name] for name in before)
    assert (values[0] == values[1]).all()
    return found


def make_ready(context: Context) -> None:
    """Make a worker's plan."""
    plan_of(context)


def line(title: str, value: str, goal: str, good: bool) -> None:
    """Print a line of the table."""
    print(f"{title:<58}{value:>16}   goal {goal:<12}{'met' if good else 'missed'}", flush=True)


def report_kernels(timed: dict[str, float]) -> None:
    """Print what the kernel's times say."""
    steps = ONE.infusions + 26
    print(
        f"individuals: {timed['kernel']:.1f} ns per patient of {steps} steps "
        f"({1e3 * steps / timed['kernel']:,.0f} M patient-steps/s), one core"
    )
    ratio = timed["numpy"] / timed["kernel"]
    line("kernel / vectorised NumPy, per core", f"{ratio:.1f} x", ">= 8 x", ratio >= 8.0)
    print(f"{'kernel / NumPy with the same Philox words':<58}"
          f"{timed['reference'] / timed['kernel']:>14.1f} x")  # fmt: skip
    if "c" in timed:
        share = timed["c"] / timed["kernel"]
        line("kernel / C, same words, same counts", f"{share:.2f} x", ">= 0.25 x", share >= 0.25)
    else:
        print("no C compiler: that ratio is left out")
    print(f"{'two threads / one, wall':<58}"
          f"{timed['one_thread_wall'] / timed['two_threads']:>14.2f} x")  # fmt: skip


def main() -> None:
    """Print the goals as ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="seconds: does it work")
    parser.add_argument("--full", action="store_true", help="a billion individuals")
    parser.add_argument("--no-cluster", action="store_true", help="without Dask")
    parser.add_argument("--json", metavar="FILE", help="keep the figures")
    options = parser.parse_args()
    rounds = 2 if options.quick else 7
    figures: dict[str, object] = {"counts": (counted := counting(rounds))}
    line(
        "counts: 1e9 patients, 20 cells, 3 strategies, 26 weeks, a draw",
        f"{1e3 * counted['seconds']:.1f} ms", "<= 50 ms", counted["seconds"] <= 0.05,
    )  # fmt: skip
    print(f"{'  beside 100,000 binomial numbers':<58}{1e3 * counted['yardstick']:>13.1f} ms")
    print(f"{'  expected: the same without chance, a draw':<58}"
          f"{1e3 * counted['expected']:>13.2f} ms")  # fmt: skip
    if not individuals.has_kernel():
        print("numba is not installed: the kernel is left out")
    else:
        with tempfile.TemporaryDirectory() as directory:
            patients = 200_000 if options.quick else 4_000_000
            figures["kernels"] = (timed := kernels(patients, rounds, Path(directory)))
        report_kernels(timed)
        size = 10**9 if options.full else 10**6
        first, peak = fresh_process(size)
        figures |= {"first_call": first, "peak_gib": peak, "peak_patients": size}
        line("first kernel call in a fresh process, cached", f"{first:.2f} s", "<= 1 s", first <= 1)
        line(f"peak memory, {size:,} individuals", f"{peak:.2f} GiB", "<= 1 GiB", peak <= 1.0)
        if not options.no_cluster and not options.quick:
            figures["workers"] = (spent := workers(16))
            for title, name in (("wall", "wall"), ("processor time of the busier", "busier")):
                ratio = spent[f"{name}_1"] / spent[f"{name}_2"]
                line(f"two Dask workers / one, {title}", f"{ratio:.2f} x", ">= 1.7 x", ratio >= 1.7)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
