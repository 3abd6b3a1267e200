"""Published evidence: cohorts, outcomes, contrasts, early change, relapse, syntheses.

Six CSV tables are read into frozen records, checked together (all faults are
told at once) and hashed. Reading needs the standard library alone.
"""

from __future__ import annotations

from ketacast.evidence.additions import Additions, check_additions, write_additions
from ketacast.evidence.dictionary import data_dictionary
from ketacast.evidence.loading import Evidence, load_evidence
from ketacast.evidence.records import (
    Cohort,
    Contrast,
    EarlyChange,
    OutcomeCount,
    PublishedSynthesis,
    Relapse,
)

__all__ = [
    "Additions",
    "Cohort",
    "Contrast",
    "EarlyChange",
    "Evidence",
    "OutcomeCount",
    "PublishedSynthesis",
    "Relapse",
    "check_additions",
    "data_dictionary",
    "load_evidence",
    "write_additions",
]
