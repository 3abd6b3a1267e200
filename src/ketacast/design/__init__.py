"""Moderators to a design matrix, and the frozen specification that does it again.

A fit learns once what its moderators look like (levels of factors, knots of
splines, which columns are redundant); its :class:`DesignSpec` then builds the
matrix of any new table in the same way.

Formulas are Python expressions over the table's columns: never fit a formula
string from a source you do not trust.
"""

from __future__ import annotations

from ketacast.design.build import Moderators, build_design, read_moderators
from ketacast.design.columns import (
    as_frame,
    column_of,
    numbers_with_gaps,
    refuse_misaligned,
    row_labels,
    without_unused_levels,
)
from ketacast.design.redundancy import spans
from ketacast.design.spec import INTERCEPT, DataWarning, DesignSpec

__all__ = [
    "INTERCEPT",
    "DataWarning",
    "DesignSpec",
    "Moderators",
    "as_frame",
    "build_design",
    "column_of",
    "numbers_with_gaps",
    "read_moderators",
    "refuse_misaligned",
    "row_labels",
    "spans",
    "without_unused_levels",
]
