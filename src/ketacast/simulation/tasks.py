"""Pieces of a simulation that can be run anywhere, in any order, more than once.

A task is named by its draws and patients alone; its result is the same bits wherever and
whenever it runs. That is all that checkpoints, processes and clusters need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.artifact import load_artifact
from ketacast.errors import ArtifactError, InputError
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.engines import (
    Plan,
    individual_outcomes,
    make_plan,
    run_counts,
    run_expected,
    tally_individuals,
)
from ketacast.simulation.lives import Tally
from ketacast.simulation.profiles import digests_of
from ketacast.simulation.sizes import counted_draws, exact_draws
from ketacast.simulation.specification import Specification

Arrays = dict[str, NDArray[Any]]

EXPECTED_DRAWS: Final = 64
COUNTED_DRAWS: Final = 16
"""Draws of a task: a fifth of a second or more each, so that a cluster's few milliseconds
per task do not count."""

PATIENTS: Final = 1 << 24
"""Patients of a task of the engine of individuals, by default: about a second."""

MOST_TASKS: Final = 2_000_000
"""Tasks of a run: some hundreds of megabytes of names."""

_TALLY: Final = ("seen", "kept", "lost", "begun")


@dataclass(frozen=True, slots=True)
class Task:
    """Some draws, and in the engine of individuals some patients.

    Attributes
    ----------
    first, last : int
        Draws `first` to `last` - 1.
    low, high : int
        Patients `low` to `high` - 1; of a part of the cohort, `last` is `first` + 1.
    """

    first: int
    last: int
    low: int
    high: int

    @property
    def name(self) -> str:
        """File name without ending."""
        return f"{self.first:04d}-{self.last:04d}_{self.low:013d}-{self.high:013d}"


@dataclass(frozen=True, slots=True)
class Context:
    """What every worker needs to make the plan for itself.

    Attributes
    ----------
    document : str
        The specification as JSON.
    model : str
        Directory of the model; empty for the model of the package.
    sha256 : str
        Digest that the model must have.
    clinics : tuple of (str, str)
        Paths of clinic profiles, and the digests that they must have.
    """

    document: str
    model: str
    sha256: str
    clinics: tuple[tuple[str, str], ...] = ()


def make_context(specification: Specification, model: Path | str | None) -> Context:
    """Describe a run for its workers."""
    directory = "" if model is None else str(Path(model).resolve())
    artifact = load_artifact(directory or None)
    clinics = tuple(digests_of(specification).items())
    return Context(json.dumps(to_document(specification)), directory, artifact.sha256, clinics)


@lru_cache(maxsize=4)
def plan_of(context: Context) -> Plan:
    """Make the plan of a run, once for each worker.

    Raises
    ------
    ArtifactError
        If the worker's model or a clinic's profile is another one.
    """
    artifact = load_artifact(context.model or None)
    if artifact.sha256 != context.sha256:
        raise ArtifactError(
            f"this worker's model has sha256 {artifact.sha256[:12]}..., the run asks for "
            f"{context.sha256[:12]}...; install the same model there"
        )
    plan = make_plan(artifact, from_document(json.loads(context.document)))
    found = {clinic.name: clinic.sha256 for clinic in plan.source.clinics if clinic.sha256}
    for path, digest in context.clinics:
        if found.get(path) != digest:
            raise ArtifactError(
                f"this worker's clinic profile {path} has sha256 {found.get(path, '')[:12]}..., "
                f"the run asks for {digest[:12]}...; put the same profile there"
            )
    return plan


def make_tasks(specification: Specification, patients_at_once: int = PATIENTS) -> list[Task]:
    """Cut a simulation into tasks.

    Parameters
    ----------
    specification : Specification
    patients_at_once : int
        Patients of a task at most; only the engine of individuals cuts a cohort.

    Raises
    ------
    InputError
        If the tasks are more than :data:`MOST_TASKS`.
    """
    n, draws = specification.patients, specification.draws
    if specification.engine == "individuals" and n > patients_at_once:
        count = draws * -(-n // patients_at_once)
        if count > MOST_TASKS:
            needed = -(-n // (MOST_TASKS // draws))
            raise InputError(
                f"{draws:,} draws of {n:,} patients make {count:,} tasks, at most {MOST_TASKS:,} "
                f"are held; give patients_at_once (--patients-at-once) of {needed} or more, fewer "
                "draws or fewer patients, or use engine = 'counts'"
            )
        return [
            Task(draw, draw + 1, low, min(low + patients_at_once, n))
            for draw in range(draws)
            for low in range(0, n, patients_at_once)
        ]
    sizes = {
        "expected": exact_draws(specification, EXPECTED_DRAWS),
        "counts": counted_draws(specification, COUNTED_DRAWS),
        "individuals": max(1, min(COUNTED_DRAWS, patients_at_once // n)),
    }
    at_once = sizes[specification.engine]
    return [Task(first, min(first + at_once, draws), 0, n) for first in range(0, draws, at_once)]


def run_task(context: Context, task: Task, threads: int = 1) -> Arrays:
    """Run a task.

    Returns
    -------
    dict of str to array
        ``outcomes`` (draws, B, S, H + 1, O), or, of a part of a cohort, the tally's arrays.
    """
    plan = plan_of(context)
    draws = range(task.first, task.last)
    engine = plan.specification.engine
    if engine == "expected":
        return {"outcomes": run_expected(plan, draws)}
    if engine == "counts":
        return {"outcomes": run_counts(plan, draws)}
    if task.high - task.low == plan.specification.patients:
        return {
            "outcomes": np.stack(
                [
                    individual_outcomes(
                        plan,
                        draw,
                        tally_individuals(plan, draw, task.low, task.high, threads=threads)[0],
                    )
                    for draw in draws
                ]
            )
        }
    tally, _ = tally_individuals(plan, task.first, task.low, task.high, threads=threads)
    return {name: getattr(tally, name) for name in _TALLY}


class Gathering:
    """Puts the results of tasks together, in whatever order they come.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._outcomes: dict[int, NDArray[np.float64]] = {}
        self._tallies: dict[int, list[NDArray[np.int64]]] = {}
        self._patients: dict[int, int] = {}

    def add(self, task: Task, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take one task's result; whole numbers add up to the same bits in any order."""
        if "outcomes" in arrays:
            for place, draw in enumerate(range(task.first, task.last)):
                self._outcomes[draw] = arrays["outcomes"][place]
            return
        draw = task.first
        held = self._tallies.setdefault(draw, [np.zeros_like(arrays[name]) for name in _TALLY])
        for place, name in enumerate(_TALLY):
            held[place] += arrays[name]
        self._patients[draw] = self._patients.get(draw, 0) + task.high - task.low
        if self._patients[draw] == self._plan.specification.patients:
            tally = Tally(*self._tallies.pop(draw))
            self._outcomes[draw] = individual_outcomes(self._plan, draw, tally)

    def values(self) -> NDArray[np.float64]:
        """Outcomes of all draws, (D, B, S, H + 1, O)."""
        return np.stack([self._outcomes[draw] for draw in range(self._plan.specification.draws)])
