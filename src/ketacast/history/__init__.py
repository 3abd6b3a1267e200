"""Failed antidepressant trials counted from a medication history, as a range with reasons.

From FHIR R4 resources (:func:`count_failed_trials`) or from a simple table
(:func:`count_failed_trials_in_table`); standard library only.
"""

from __future__ import annotations

from ketacast.history.counting import count_failed_trials
from ketacast.history.rater import ChartRater, rater_from_chart
from ketacast.history.result import (
    CountRange,
    Era,
    Flag,
    HistoryCount,
    Judgement,
    Reason,
    Reported,
    Unused,
)
from ketacast.history.rules import CountingRules
from ketacast.history.table import count_failed_trials_in_table, read_table

__all__ = [
    "ChartRater",
    "CountRange",
    "CountingRules",
    "Era",
    "Flag",
    "HistoryCount",
    "Judgement",
    "Reason",
    "Reported",
    "Unused",
    "count_failed_trials",
    "count_failed_trials_in_table",
    "rater_from_chart",
    "read_table",
]
