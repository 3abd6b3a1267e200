"""Speed of predictions, each as a ratio to a yardstick timed in the same run.

Run: python tests/benchmarks/predictions.py
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import ketacast
from ketacast.predictor import load_predictor

ROWS = 1_000_000
COEFFICIENTS = (-0.014, 0.466, 1.046, -0.005, 0.4, 0.19, 0.709, -0.119)


def seconds(task: Callable[[], object], repeats: int) -> float:
    """Median time of one call."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(repeats):
            task()
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(times)


def plain_python() -> list[tuple[float, float]]:
    """Compute six infusions' two point estimates in plain Python: the work a table saves."""
    a, b, h, g, am, bm, hm, gm = COEFFICIENTS
    answers = []
    for infusions in range(1, 7):
        x = math.log2(infusions / 6)
        p = 1 / (1 + math.exp(-(a + b * x - h / 2 + g * 0)))
        q = 1 / (1 + math.exp(-(am + bm * x - hm / 2 + gm * 0)))
        answers.append((p, p * q))
    return answers


def report(name: str, ours: float, yardstick: float, goal: str, bound: float) -> None:
    """Print one line: time, ratio and whether the goal is met."""
    met = "met" if ours / yardstick <= bound else "MISSED"
    print(f"{name:<46} {ours * 1e6:>12,.1f} us   ratio {ours / yardstick:>8.3f}   {goal}: {met}")


def cold(arguments: list[str]) -> float:
    """Median wall time of a fresh process."""
    times = []
    for _ in range(15):
        start = time.perf_counter()
        subprocess.run(arguments, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Time everything."""
    predictor = load_predictor()
    point = seconds(lambda: ketacast.predict(failed_trials=6, infusions=6, rated_by="self"), 2000)
    # 20 us where plain Python took 9 us on the anchor machine.
    report("point prediction / plain Python", point, seconds(plain_python, 2000), "<= 2.2", 2.2)

    numbers = np.linspace(-5, 5, ROWS)
    exponentials = seconds(lambda: np.exp(numbers), 3)
    # 50 ms where a million exponentials take 0.85 ms (2 vCPU Zen 4, AVX-512).
    for trials, rater in (((4, 8), "self"), ((2, 12), "self"), ((2, 12), "unknown")):
        ranged = seconds(partial(predictor.predict, trials, 8, rater), 1)  # type: ignore[arg-type]
        report(
            f"trials {trials}, 8 infusions, {rater} / 1e6 exp", ranged, exponentials, "<= 58", 58
        )

    rng = np.random.default_rng(1)
    trials_of = rng.integers(0, 21, ROWS)
    infusions_of = rng.integers(1, 9, ROWS)

    def many() -> object:
        batch = ketacast.predict_many(trials_of, infusions_of, "self")
        return batch.response, batch.remission

    def arithmetic() -> object:
        a, b, _, g, am, bm, _, gm = COEFFICIENTS
        failed, doublings = trials_of - 6.0, np.log2(infusions_of / 6.0)
        response = 1.0 / (1.0 + np.exp(-(a + b * doublings + g * failed)))
        return response, response / (1.0 + np.exp(-(am + bm * doublings + gm * failed)))

    # 10 M rows/s with 20 columns where the arithmetic of two point estimates runs at 35 M rows/s.
    ours = seconds(many, 1)
    report("predict_many, 1e6 rows / arithmetic", ours, seconds(arithmetic, 1), "<= 3.5", 3.5)
    print(f"{'':<46} {ROWS / ours / 1e6:>12,.1f} M rows/s, all 20 columns gathered")

    script = str(Path(sys.executable).with_name("ketacast"))
    command = [script, "predict", "--failed-trials", "6"]
    command += ["--infusions", "6", "--rated-by", "self"]
    bare = cold([sys.executable, "-c", "import argparse, json"])
    # 80 ms where Python with argparse and json takes 21 ms.
    report("command line, cold / python, argparse, json", cold(command), bare, "<= 3.8", 3.8)


if __name__ == "__main__":
    main()
