"""A clinic's own results: counts in, a profile out that every prediction accepts.

Reading a profile and answering a point input need the standard library alone;
writing one needs NumPy and SciPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketacast.prediction import ClinicEstimate
from ketacast.updating.answers import ClinicAnswer, answer_for_clinic
from ketacast.updating.counts import Batch, Cell, join_batches
from ketacast.updating.profile import Clinic, load_clinic

if TYPE_CHECKING:
    from ketacast.updating.update import update_clinic

__all__ = [
    "Batch",
    "Cell",
    "Clinic",
    "ClinicAnswer",
    "ClinicEstimate",
    "answer_for_clinic",
    "join_batches",
    "load_clinic",
    "update_clinic",
]


def __getattr__(name: str) -> object:
    if name == "update_clinic":
        from ketacast.updating.update import update_clinic  # noqa: PLC0415  # NumPy

        return update_clinic
    raise AttributeError(f"module 'ketacast.updating' has no attribute {name!r}")
