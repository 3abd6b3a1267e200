"""Speed of fits, each as a ratio to other packages timed on the same rows in the same run.

Run: python tests/benchmarks/fits.py [--quick] [--json FILE] [--peers PYTHON] [--no-peers]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from fits_data import SIZES, Numbers, resampled_effects, simulate, write
from fits_tasks import Call, Task, all_tasks
from fits_workers import Worker
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

HERE = Path(__file__).parent
NAMES = ("metafor", "PyMARE", "pimeta")
#: Seconds of one round of a short call (R's clock ticks in milliseconds), and of all
#: rounds of a task.
SHORT, TASK_BUDGET = 0.03, 7.0
ROUNDS = (3, 25)
#: A call in R that seems to take no time took less than this.
TICK = 1e-4
#: p-values from 200 and 1,000 random permutations differ by this four standard errors out.
RANDOM_TOLERANCE = 0.13
#: Where numbers are smaller than this, differences are relative to it.
SCALE = 0.01
GROWTH_GOAL = 5.0


@dataclass(frozen=True)
class Times:
    """Processor microseconds of one call over the rounds."""

    median: float
    least: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        """Summarise the rounds."""
        return cls(1e6 * statistics.median(seconds), 1e6 * min(seconds))


@dataclass(frozen=True)
class Agreement:
    """Largest relative difference of the shared numbers, and where it is."""

    difference: float
    where: str
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether the numbers agree."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    task: str
    title: str
    call: str
    ours: Times
    peers: Mapping[str, Times]
    wrong: tuple[str, ...]
    agreement: Mapping[str, Agreement]
    yardstick: str | None
    ratio: float | None
    goal: float | None
    bound: float | None
    verdict: str


def compare(ours: Numbers, theirs: Numbers, tolerance: float) -> Agreement:
    """Hold the shared numbers against each other; theirs may be the first of more of ours."""
    found = []
    for key in sorted(ours.keys() & theirs.keys()):
        b = np.ravel(theirs[key])
        a = np.ravel(ours[key])[: b.size]
        if a.size != b.size:
            raise ValueError(f"{key}: {b.size} numbers for {a.size} of ours")
        distance = np.abs(a - b)
        if key.endswith("_random"):
            found.append(Agreement(float(distance.max()), key, RANDOM_TOLERANCE))
        else:
            relative = distance / np.maximum(np.abs(b), SCALE)
            found.append(Agreement(float(relative.max()), key, tolerance))
    if not found:
        raise ValueError(f"nothing to compare: {sorted(ours)} and {sorted(theirs)}")
    # A NaN comes first, not last.
    return max(found, key=lambda each: (not each.good, each.difference / each.tolerance))


def checked(task: Task, workers: Mapping[str, Worker]) -> dict[str, Agreement]:
    """Agreement of our calls with the textbook and of each peer with ours."""
    expected = task.textbook()
    numbers = [call() for call in task.calls.values()]
    found = {
        f"{label} / textbook": compare(ours, expected, task.tolerance)
        for label, ours in zip(task.calls, numbers, strict=True)
    }
    for name, worker in workers.items():
        if task.name in worker.tasks[name]:
            try:
                theirs = worker.numbers(name, task.name)
            except RuntimeError as error:
                print(error)
            else:
                found[name] = compare(numbers[0], theirs, task.peer_tolerance)
    return found


def timer(call: Call) -> Callable[[int], float]:
    """Mean processor seconds of a number of calls in this process.

    All calls run in one thread, so this is their duration on an idle machine.
    """

    def seconds(loops: int) -> float:
        start = time.process_time()
        for _ in range(loops):
            call()
        return (time.process_time() - start) / loops

    return seconds


def timed(task: Task, workers: Mapping[str, Worker], quick: bool) -> dict[str, Times]:
    """Time ours and the peers in turn, so that a busy machine slows all of them."""
    clocks = {label: timer(call) for label, call in task.calls.items()}
    for name, worker in workers.items():
        clocks[name] = partial(worker.seconds, name, task.name)
    spent, loops = {}, {}
    for label, clock in clocks.items():
        start = time.perf_counter()
        worked = max(clock(1), TICK)
        spent[label] = time.perf_counter() - start
        loops[label] = 1 if quick else max(1, int(SHORT / worked))
    a_round = sum(spent[label] * loops[label] for label in clocks)
    rounds = 1 if quick else min(max(int(TASK_BUDGET / a_round), ROUNDS[0]), ROUNDS[1])
    seconds: dict[str, list[float]] = {label: [] for label in clocks}
    for _ in range(rounds):
        for label, clock in clocks.items():
            seconds[label].append(clock(loops[label]))
    return {label: Times.of(values) for label, values in seconds.items()}


def lines_of(task: Task, workers: Mapping[str, Worker], quick: bool) -> list[Line]:
    """Check and time one task: a line for each of our calls."""
    agreement = checked(task, workers)
    alive = {name: worker for name, worker in workers.items() if name in agreement}
    times = timed(task, alive, quick)
    right = {name: times[name] for name in alive if agreement[name].good}
    # Against a peer without an anchor the goal has no measure.
    measured = {name: t for name, t in right.items() if name in task.anchors} or right
    fastest = min(measured, key=lambda name: measured[name].median, default=None)
    lines = []
    for label in task.calls:
        ours = times[label]
        ratio = ours.median / times[fastest].median if fastest else None
        anchor = task.anchors.get(fastest or "")
        bound = task.goal / anchor if task.goal and anchor else None
        correct = agreement[f"{label} / textbook"].good
        lines.append(
            Line(
                task=task.name,
                title=task.title,
                call=label,
                ours=ours,
                peers={name: times[name] for name in alive},
                wrong=tuple(name for name in alive if not agreement[name].good),
                agreement=agreement,
                yardstick=fastest,
                ratio=ratio,
                goal=task.goal,
                bound=bound,
                verdict=verdict(ours.median, ratio, task.goal, bound) if correct else "WRONG",
            )
        )
    return lines


def verdict(ours: float, ratio: float | None, goal: float | None, bound: float | None) -> str:
    """Judge by the ratio; without a yardstick, by the time itself, and say so."""
    if goal is None:
        return "-"
    if ratio is not None and bound is not None:
        return "met" if ratio <= bound else "MISSED"
    return "met (by time)" if ours <= goal else "MISSED (by time)"


def print_agreement(lines: list[Line]) -> None:
    """Say how closely numbers agree."""
    print("\nAgreement: largest relative difference, and the tolerance")
    for name, agreement in {line.task: line.agreement for line in lines}.items():
        for other, found in agreement.items():
            state = "agrees" if found.good else "WRONG"
            print(
                f"{name:<14} {other:<38} {found.difference:8.1e} <= {found.tolerance:.0e} "
                f"({found.where}): {state}"
            )


def print_table(lines: list[Line]) -> None:
    """Print the times."""
    print("\nProcessor time in microseconds, median (least)")
    print("ratio: to the fastest peer whose numbers are right")
    peers = "".join(f"{name:>14}" for name in NAMES)
    print(f"{'task':<45}{'call':<25}{'ours':>20}{peers}{'ratio':>9}  goal")
    for line in lines:
        cells = "".join(f"{_peer(line, name):>14}" for name in NAMES)
        ours = f"{line.ours.median:,.0f} ({line.ours.least:,.0f})"
        ratio = "-" if line.ratio is None else f"{line.ratio:.4f}"
        goal = "none" if line.goal is None else f"<= {line.goal:,.0f} us"
        if line.bound is not None:
            goal += f", ratio to {line.yardstick} <= {line.bound:.4f}"
        print(f"{line.title:<45}{line.call:<25}{ours:>20}{cells}{ratio:>9}  {goal}: {line.verdict}")


def _peer(line: Line, name: str) -> str:
    if name not in line.peers:
        return "-"
    return f"{line.peers[name].median:,.0f}" + ("*" if name in line.wrong else "")


def print_growth(lines: list[Line]) -> None:
    """Say how the cost grows with the number of studies."""
    for call in ("fit_normal", "MetaRegression"):
        ours = {line.task: line.ours.median for line in lines if line.call == call}
        growth = ours["reml_1000"] / ours["reml_79"]
        met = "met" if growth <= GROWTH_GOAL else "MISSED"
        print(f"{call}: k = 1,000 over k = 79: {growth:.2f}   goal <= {GROWTH_GOAL:g}: {met}")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time fits beside other packages.")
    parser.add_argument("--quick", action="store_true", help="one round of one call each")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--peers",
        default=os.environ.get("KETACAST_BENCH_PEERS", sys.executable),
        help="Python that has PyMARE and pimeta (default: KETACAST_BENCH_PEERS, or this one)",
    )
    parser.add_argument("--no-peers", action="store_true", help="time ours alone")
    return parser.parse_args()


def started(stack: ExitStack, peers: str, directory: Path) -> dict[str, Worker]:
    """Start the yardsticks that there are, and say which there are not."""
    commands = [[peers, str(HERE / "fits_peers.py")]]
    rscript = shutil.which("Rscript")
    if rscript:
        commands.insert(0, [rscript, "--vanilla", str(HERE / "yardsticks.R")])
    else:
        print("metafor is absent: there is no Rscript")
    workers: dict[str, Worker] = {}
    for command in commands:
        worker = stack.enter_context(Worker(command, directory))
        for name in worker.absent:
            print(f"{name} is absent: {command[0]} does not have it")
        for name, version in worker.versions.items():
            print(f"{name} {version}")
            workers[name] = worker
    return workers


def main() -> int:
    """Check and time everything; 1 if numbers of ours are wrong."""
    chosen = options()
    begun = time.perf_counter()
    lines: list[Line] = []
    with threadpool_limits(1), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        studies = {k: simulate(k) for k in SIZES}
        effects = resampled_effects(studies[37])
        write(directory, studies, effects)
        workers = {} if chosen.no_peers else started(stack, chosen.peers, directory)
        if chosen.no_peers:
            print("metafor, PyMARE, pimeta: not asked for")
        print("bayesmeta is never timed: the Bayesian task is judged by its time")
        for task in all_tasks(studies, effects):
            lines += lines_of(task, workers, chosen.quick)
    print_agreement(lines)
    print_table(lines)
    if any(line.wrong for line in lines):
        print("* wrong numbers, not counted; see the agreement above")
    print_growth(lines)
    print(f"\n{time.perf_counter() - begun:.0f} s in all")
    if chosen.json:
        content = [asdict(line) for line in lines]
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(line.verdict == "WRONG" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
