"""What counting answers: frozen records with ``to_dict`` and a short table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

from ketacast.history.rules import CountingRules

Verdict = Literal["adequate", "inadequate", "unknown"]
Reading = Literal["strict", "usual", "lenient"]
READINGS: Final[tuple[Reading, ...]] = ("strict", "usual", "lenient")

#: The model answers for 0 to 20 failed trials.
MOST_TRIALS: Final = 20


@dataclass(frozen=True, slots=True)
class CountRange:
    """Lowest and highest number that a count may be."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"

    def to_dict(self) -> dict[str, int]:
        """Give the range as JSON-ready values."""
        return {"low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an era is counted or not.

    Attributes
    ----------
    code : str
        Stable name.
    sentence : str
        The same for people.
    """

    code: str
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """Give the reason as JSON-ready values."""
        return {"code": self.code, "sentence": self.sentence}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One reading of one era.

    Attributes
    ----------
    weeks : float
        Weeks at or above the minimum dose of this reading.
    verdict : {"adequate", "inadequate", "unknown"}
        Whether dose and duration make a trial.
    current, lifetime : bool
        Whether it is counted for the current episode, and for the lifetime.
    """

    weeks: float
    verdict: Verdict
    current: bool
    lifetime: bool

    def to_dict(self) -> dict[str, Any]:
        """Give the judgement as JSON-ready values."""
        return {
            "weeks": self.weeks,
            "verdict": self.verdict,
            "counted_current_episode": self.current,
            "counted_lifetime": self.lifetime,
        }


@dataclass(frozen=True, slots=True)
class Era:
    """One treatment with one antidepressant: its supplies joined.

    Attributes
    ----------
    ingredient : str
        The drug.
    start, end : str or None
        Days, or months or years where the record names no more; the end is that of
        the lenient reading; None if not recorded.
    ongoing : bool
        It may be going on at the index date.
    typical_mg, highest_mg : float or None
        Daily dose; None if not recorded.
    weeks : float
        Length in the lenient reading, whatever the dose.
    strict, usual, lenient : Judgement
        The three readings.
    reasons : tuple of Reason
        Why it is counted or not, the decisive one first.
    sources : tuple of str
        The records, as ``MedicationRequest/123``.
    """

    ingredient: str
    start: str | None
    end: str | None
    ongoing: bool
    typical_mg: float | None
    highest_mg: float | None
    weeks: float
    strict: Judgement
    usual: Judgement
    lenient: Judgement
    reasons: tuple[Reason, ...]
    sources: tuple[str, ...]

    @property
    def reason(self) -> Reason:
        """The decisive reason."""
        return self.reasons[0]

    @property
    def counted_strict(self) -> bool:
        """Whether the low end of the current episode's range counts it."""
        return self.strict.current

    @property
    def counted_lenient(self) -> bool:
        """Whether the high end of the current episode's range counts it."""
        return self.lenient.current

    def to_dict(self) -> dict[str, Any]:
        """Give the era as JSON-ready values."""
        return {
            "ingredient": self.ingredient,
            "start": self.start,
            "end": self.end,
            "ongoing": self.ongoing,
            "daily_dose_mg": {"typical": self.typical_mg, "highest": self.highest_mg},
            "weeks": self.weeks,
            "strict": self.strict.to_dict(),
            "usual": self.usual.to_dict(),
            "lenient": self.lenient.to_dict(),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "sources": list(self.sources),
        }


@dataclass(frozen=True, slots=True)
class Reported:
    """A treatment that is shown beside the count but not in it.

    Attributes
    ----------
    kind : {"augmentation", "ect", "tms", "ketamine", "esketamine"}
        What it is.
    name : str
        Drug or procedure.
    start, end : str or None
        First and last recorded date.
    records : int
        Number of records.
    sentence : str
        The same for people.
    sources : tuple of str
        The records.
    """

    kind: str
    name: str
    start: str | None
    end: str | None
    records: int
    sentence: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as JSON-ready values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "start": self.start,
            "end": self.end,
            "records": self.records,
            "sentence": self.sentence,
            "sources": list(self.sources),
        }


@dataclass(frozen=True, slots=True)
class Flag:
    """Something in the chart that bears on whether the model fits this patient.

    Attributes
    ----------
    code : str
        Stable name.
    message : str
        The same for people.
    sources : tuple of str
        The records it rests on.
    """

    code: str
    message: str
    sources: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the flag as JSON-ready values."""
        return {"code": self.code, "message": self.message, "sources": list(self.sources)}


@dataclass(frozen=True, slots=True)
class Unused:
    """A record that is not in any era, and why.

    Attributes
    ----------
    source : str
        The record.
    code : str
        Stable name of the reason.
    reason : str
        The same for people.
    ingredient : str or None
        The drug, if it could be read.
    """

    source: str
    code: str
    reason: str
    ingredient: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the record as JSON-ready values."""
        return {
            "source": self.source,
            "code": self.code,
            "reason": self.reason,
            "ingredient": self.ingredient,
        }


@dataclass(frozen=True, slots=True)
class HistoryCount:
    """Failed antidepressant trials in a medication history, as a range with reasons.

    Attributes
    ----------
    as_of : str
        Index date.
    current_episode, lifetime : CountRange
        What the chart shows: strict to lenient.
    usual_current_episode, usual_lifetime : int
        The usual rule, which lies between them.
    own_count : CountRange or None
        The clinician's own count; it is used instead of the chart's.
    treated_now : bool
        Whether the current episode has a treatment with an antidepressant, counted or not.
    eras : tuple of Era
        Every treatment, by start.
    reported : tuple of Reported
        ECT, TMS, earlier ketamine, augmentation.
    flags : tuple of Flag
        Likely reasons why the model does not fit.
    set_aside : tuple of Unused
        Records of antidepressants that are no treatment: drafts, plans, errors.
    unread : tuple of Unused
        Records that could not be read.
    rules : CountingRules
        The rules in use.
    notices : tuple of str
        What to know before the count is used.
    """

    as_of: str
    current_episode: CountRange
    lifetime: CountRange
    usual_current_episode: int
    usual_lifetime: int
    own_count: CountRange | None
    treated_now: bool
    eras: tuple[Era, ...]
    reported: tuple[Reported, ...]
    flags: tuple[Flag, ...]
    set_aside: tuple[Unused, ...]
    unread: tuple[Unused, ...]
    rules: CountingRules
    notices: tuple[str, ...]

    @property
    def used(self) -> CountRange:
        """The range to use: the clinician's own count, else the current episode's."""
        return self.current_episode if self.own_count is None else self.own_count

    @property
    def has_data(self) -> bool:
        """Whether there is anything to count in the current episode.

        Without a treatment in it, and without the clinician's own count, a count of 0
        says nothing: no prediction should be made from it.
        """
        return self.treated_now or self.own_count is not None

    @property
    def failed_trials(self) -> tuple[int, int]:
        """The range for :func:`ketacast.predict`, at most 20 (a flag says if it was more)."""
        return min(self.used.low, MOST_TRIALS), min(self.used.high, MOST_TRIALS)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON-ready values."""
        low, high = self.failed_trials
        return {
            "as_of": self.as_of,
            "failed_trials": {"min": low, "max": high},
            "has_data": self.has_data,
            "current_episode": {
                **self.current_episode.to_dict(),
                "usual": self.usual_current_episode,
            },
            "lifetime": {**self.lifetime.to_dict(), "usual": self.usual_lifetime},
            "own_count": None if self.own_count is None else self.own_count.to_dict(),
            "eras": [era.to_dict() for era in self.eras],
            "reported": [entry.to_dict() for entry in self.reported],
            "flags": [flag.to_dict() for flag in self.flags],
            "set_aside": [entry.to_dict() for entry in self.set_aside],
            "unread": [entry.to_dict() for entry in self.unread],
            "rules": self.rules.to_dict(),
            "notices": list(self.notices),
        }

    def __str__(self) -> str:
        from ketacast.history.text import count_lines  # noqa: PLC0415  # formats this class

        return "\n".join(count_lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
