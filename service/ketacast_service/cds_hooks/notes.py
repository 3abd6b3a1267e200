"""Why some patients get a card without figures."""

from __future__ import annotations

from typing import Final, NamedTuple


class Note(NamedTuple):
    """A card without figures.

    Attributes
    ----------
    code : str
        Stable name, as recorded.
    summary : str
        One sentence.
    detail : str
        Why.
    """

    code: str
    summary: str
    detail: str


ESKETAMINE: Final = Note(
    "esketamine",
    "No figures for esketamine: the evidence here is of intravenous racemic ketamine",
    "The figures of this service come from cohorts treated with intravenous racemic "
    "ketamine. Esketamine is another substance, dose and route, given beside a new oral "
    "antidepressant: what holds for one need not hold for the other, so none are shown.",
)
NO_DATA: Final = Note(
    "no-data",
    "No antidepressant treatment found in the chart: failed trials cannot be counted, no figures",
    "The records that were sent hold no antidepressant treatment. That is no sign that there "
    "was none: a history from elsewhere is often missing. A count of 0 would say nothing, so "
    "no figures are shown. With your own count they can be looked up.",
)
NOT_NOW: Final = Note(
    "not-in-this-episode",
    "No antidepressant treatment in the current episode: nothing to count, so no figures",
    "The antidepressants in this chart ended long ago, so the current episode has no treatment in "
    "it. A count of 0 would say nothing, so no figures are shown. If the episode was treated "
    "elsewhere, figures can be looked up with your own count.",
)
UNDER_18: Final = Note(
    "under-18",
    "No figures: the patient is under 18, and the evidence is of adults",
    "All cohorts behind the figures of this service are of adults; nothing can be said for "
    "younger patients.",
)
