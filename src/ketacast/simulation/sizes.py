"""What a specification needs in memory, told before any of it is taken.

Sizes are numbers of 8 bytes in the largest arrays of a worker. What can be cut into
smaller pieces is cut; what cannot is refused with what to change.
"""

from __future__ import annotations

from typing import Final

from ketacast.errors import InputError
from ketacast.simulation.specification import Specification

MOST_HELD: Final = 1 << 26
"""Numbers of one array, or of those of one task: half a GiB."""

MOST_CLASSED: Final = 1 << 20
"""Cells by classes. Their chances after each infusion and what makes them take some 1 GiB."""

MOST_COUNTED: Final = 1 << 23
"""Cells by classes by joint states. Counts of both halves by status take some 1 GiB."""

_REASONS: Final = 12
"""Numbers of a cell, infusion and strategy: 3 statuses that stay, 3 by 3 that leave."""


def check_classes(specification: Specification) -> None:
    """Refuse more cells and classes than a worker holds.

    Raises
    ------
    InputError
        For engines other than "expected", which has no classes.
    """
    cells, classes = specification.cohort.cells, specification.classes
    if specification.engine != "expected" and cells * classes > MOST_CLASSED:
        raise InputError(
            f"{cells:,} cells of the cohort and {classes:,} classes make {cells * classes:,} kinds "
            f"of patients, at most {MOST_CLASSED:,} are held; give fewer classes, groups or "
            "clinics, or use engine = 'expected'"
        )


def check_states(specification: Specification, joint_states: int) -> None:
    """Refuse more joint states than fit beside the cohort.

    Raises
    ------
    InputError
        In "counts" by cells, classes and states; in "individuals" by the numbers of a task.
    """
    cells, classes = specification.cohort.cells, specification.classes
    if specification.engine == "counts" and cells * classes * joint_states > MOST_COUNTED:
        raise InputError(
            f"{cells:,} cells of the cohort, {classes:,} classes and {joint_states:,} joint states "
            f"of the strategies' rules make {cells * classes * joint_states:,} counts, at most "
            f"{MOST_COUNTED:,} are held; give fewer classes, groups, clinics or strategies, or use "
            "engine = 'expected'"
        )
    size = tally_size(specification, joint_states)
    if specification.engine == "individuals" and size > MOST_HELD:
        raise InputError(
            f"each task would hold {size:,} numbers (clinics by strategies, weeks and joint "
            f"states), at most {MOST_HELD:,} are held; give fewer clinics or strategies, a shorter "
            "horizon_weeks, or use engine = 'expected'"
        )


def tally_size(specification: Specification, joint_states: int) -> int:
    """Return the numbers of a task of the engine of individuals."""
    strategies, horizon = len(specification.strategies), specification.horizon_weeks
    course = 6 * specification.longest * (joint_states + 1)
    later = strategies * (4 * specification.entries * (2 * horizon + 1) + horizon)
    return 2 * specification.cohort.clinics * (course + later)


def exact_draws(specification: Specification, most: int) -> int:
    """Return how many draws the exact engine runs at once, 1 to `most`.

    The draws that are run together change no bit of any of them.
    """
    cohort = specification.cohort
    course = cohort.cells * specification.longest * _REASONS * len(specification.strategies)
    return max(1, min(most, MOST_HELD // (2 * course + 4 * _later_size(specification))))


def counted_draws(specification: Specification, most: int) -> int:
    """Return how many draws are a task of the engine of counts, 1 to `most`: some minutes."""
    size = 2 * len(specification.strategies) * _later_size(specification)
    return max(1, min(most, MOST_HELD // size))


def _later_size(specification: Specification) -> int:
    """Numbers after one strategy's course: by clinic, week, entry, status and care."""
    return specification.cohort.clinics * specification.horizon_weeks * specification.entries * 4
