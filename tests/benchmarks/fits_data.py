"""Rows that all fits are timed on: simulated once from a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.diagnostics.casewise import random_generator
from ketacast.numerics.normal import fit_normal

Numbers = dict[str, FloatArray | float]

SIZES = (37, 79, 1000)
REFITS = 1000
NEW_ROWS = 10_000
BOOTSTRAP_SEED = 1


@dataclass(frozen=True)
class Rows:
    """k studies: effects, sampling variances, a moderator, counts, nested effects in groups."""

    y: FloatArray
    v: FloatArray
    x: FloatArray
    events: FloatArray
    n: FloatArray
    nested: FloatArray
    group: FloatArray

    @property
    def design(self) -> FloatArray:
        """Design with the intercept."""
        return np.column_stack([np.ones(self.x.size), self.x])

    @property
    def ones(self) -> FloatArray:
        """Design of the intercept alone."""
        return np.ones((self.x.size, 1))


def simulate(k: int) -> Rows:
    """Simulate k studies with moderate heterogeneity and a moderator that matters little."""
    rng = np.random.default_rng(k)
    x, v = rng.standard_normal(k), rng.uniform(0.02, 0.3, k)
    y = 0.3 + 0.15 * x + np.sqrt(v + 0.1) * rng.standard_normal(k)
    n = rng.integers(10, 61, k).astype(np.float64)
    logits = -0.5 + 0.2 * x + 0.5 * rng.standard_normal(k)
    events = rng.binomial(n.astype(np.int64), 1.0 / (1.0 + np.exp(-logits))).astype(np.float64)
    group = np.arange(k) // 3
    between = 0.3 * rng.standard_normal(group[-1] + 1)
    return Rows(y, v, x, events, n, y + between[group], group.astype(np.float64))


def resampled_effects(rows: Rows) -> FloatArray:
    """Effects (REFITS, k) that ``bootstrap(seed=BOOTSTRAP_SEED)`` refits."""
    fit = fit_normal(rows.y, rows.v, rows.design, test="z")
    noise = random_generator(BOOTSTRAP_SEED).standard_normal((REFITS, rows.y.size))
    effects: FloatArray = rows.design @ fit.beta + np.sqrt(rows.v + fit.tau2) * noise
    return effects


def new_moderators() -> FloatArray:
    """Moderator values (NEW_ROWS,) to predict at."""
    return np.random.default_rng(3).standard_normal(NEW_ROWS)


def write(directory: Path, studies: dict[int, Rows], effects: FloatArray) -> None:
    """Write the rows as CSV files for other processes, digits enough for the same doubles."""
    names = ("y", "v", "x", "events", "n", "nested", "group")
    for k, rows in studies.items():
        table = np.column_stack([getattr(rows, name) for name in names])
        _save(directory / f"studies_{k}.csv", table, ",".join(names))
    _save(directory / "effects.csv", effects, ",".join(f"y{i}" for i in range(effects.shape[1])))
    _save(directory / "new.csv", new_moderators()[:, None], "x")


def _save(path: Path, table: FloatArray, header: str) -> None:
    np.savetxt(path, table, fmt="%.17g", delimiter=",", header=header, comments="")
