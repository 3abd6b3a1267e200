"""Cards: information only. They suggest nothing and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from ketacast import __version__
from ketacast.history import ChartRater, HistoryCount
from ketacast.prediction import ModelId
from ketacast_service.cds_hooks import wording
from ketacast_service.cds_hooks.notes import Note
from ketacast_service.cds_hooks.orders import Planned
from ketacast_service.settings import Settings

REASON_SYSTEM: Final = "urn:ketacast:cds-override-reason"
OVERRIDE_REASONS: Final[Mapping[str, str]] = {
    "history-incomplete": "The medication history in the chart is incomplete",
    "count-differs": "I count the failed trials differently",
    "not-for-depression": "Ketamine is not given for depression here",
    "course-differs": "Another number of infusions is planned",
    "not-helpful": "Known already, or of no help here",
}
_TOPIC: Final = {
    "system": "urn:ketacast:cds-topic", "code": "ketamine-outlook",
    "display": "Outlook of a ketamine course",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a card with figures is written from.

    Attributes
    ----------
    answer : mapping
        ``Prediction.to_dict()``: the only source of figures.
    count : HistoryCount
        Failed trials with reasons.
    planned : Planned
        Infusions.
    rater : ChartRater
        Who rates.
    not_seen : sequence of str
        Data that could not be had.
    other_route : bool
        Whether the order names another way than the vein.
    """

    answer: Mapping[str, Any]
    count: HistoryCount
    planned: Planned
    rater: ChartRater
    not_seen: Sequence[str]
    other_route: bool


class CardMaker:
    """Writes cards.

    Parameters
    ----------
    settings : Settings
        Addresses that cards may link to.
    model : ModelId
        The model that answers.
    """

    def __init__(self, settings: Settings, model: ModelId) -> None:
        self._lookup_url = settings.cds_lookup
        source: dict[str, Any] = {
            "label": f"ketacast {__version__}, model {model.name} {model.version} "
            f"({model.sha256[:12]})"
        }
        if settings.cds_source is not None:
            source["url"] = settings.cds_source
        self._source = {**source, "topic": _TOPIC}

    def outlook(self, identifier: str, found: Outlook) -> dict[str, Any]:
        """Write the card with figures."""
        basis = found.answer["basis"]
        detail = [
            wording.table(found.answer),
            wording.DEFINITIONS,
            wording.inputs(found.count, found.planned, found.rater),
            *wording.counted(found.count),
            wording.bullets(
                "Limits for this patient",
                wording.remarks(
                    found.count, found.answer, found.not_seen, other_route=found.other_route
                ),
            ),
            f"{wording.LIMITS} Basis: {basis['cohorts']} cohorts, {basis['patients']:,} patients.",
        ]
        summary = wording.summary(found.answer, found.planned, wording.outside_words(found.count))
        link = self._link(found.answer["inputs"])
        return self._card(identifier, summary, detail, link)

    def note(self, identifier: str, note: Note, seen: Sequence[str] = ()) -> dict[str, Any]:
        """Write a card that says why there are no figures, and what was seen."""
        detail = [note.detail, *seen, wording.LIMITS]
        return self._card(identifier, note.summary, detail, self._link({}))

    def _card(
        self, identifier: str, summary: str, detail: Sequence[str], link: dict[str, str] | None
    ) -> dict[str, Any]:
        card: dict[str, Any] = {
            "uuid": identifier,
            "summary": summary,
            "detail": "\n\n".join(detail),
            "indicator": "info",
            "source": self._source,
            "overrideReasons": [
                {"system": REASON_SYSTEM, "code": code, "display": display}
                for code, display in OVERRIDE_REASONS.items()
            ],
        }
        return card if link is None else {**card, "links": [link]}

    def _link(self, inputs: Mapping[str, Any]) -> dict[str, str] | None:
        """Link to the lookup page, where there is one, with the three inputs and nothing else."""
        if self._lookup_url is None:
            return None
        url = self._lookup_url
        if inputs:
            trials = inputs["failed_trials"]
            low, high = trials["min"], trials["max"]
            query = {
                "failed_trials": str(low) if low == high else f"{low}-{high}",
                "infusions": str(inputs["infusions"]),
                "rated_by": inputs["rated_by"],
            }
            url = f"{url}?{urlencode(query)}"
        return {"label": "Change count or course", "url": url, "type": "absolute"}
