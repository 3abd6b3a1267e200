"""What every engine reports: how many patients go where, and when.

Arrays hold expected numbers (float) from the exact engine, counts (int) from the others.
Leading axis B: draws (exact engine), or the two halves of a cohort in one draw, whose
difference tells the Monte-Carlo error. G clinics, K infusions at most, H weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True)
class CourseFlow:
    """Patients through one strategy's course.

    Attributes
    ----------
    staying : (B, G, K, 3) array
        Go on after infusion k with status N, R or M.
    leaving : (B, G, K, 3, 3) array
        Leave after infusion k with that status: completed, stopped, dropped out.
    """

    staying: Numbers
    leaving: Numbers


@dataclass(frozen=True, slots=True)
class LaterFlow:
    """Patients in response after the course, by week.

    An *entry* is a start of time in response: 0 to K - 1 after an infusion of the course,
    K + w after a re-induction that ends with week w.

    Attributes
    ----------
    kept : (B, G, H, E, 2, 2) array
        Still in response at the end of a week, by entry, status at the course's end (R,
        M) and whether in care (no, yes) after the week's drop-out.
    lost : (B, G, H, E, 2, 2) array
        Lost the response in the week; in care or not during it.
    begun : (B, G, H) array
        Re-inductions begun at the end of a week.
    """

    kept: Numbers
    lost: Numbers
    begun: Numbers


def add_course(flows: Sequence[CourseFlow]) -> CourseFlow:
    """Add the numbers of different patients."""
    return CourseFlow(
        np.sum([one.staying for one in flows], axis=0),
        np.sum([one.leaving for one in flows], axis=0),
    )


def add_later(flows: Sequence[LaterFlow]) -> LaterFlow:
    """Add the numbers of different patients."""
    return LaterFlow(
        np.sum([one.kept for one in flows], axis=0),
        np.sum([one.lost for one in flows], axis=0),
        np.sum([one.begun for one in flows], axis=0),
    )
