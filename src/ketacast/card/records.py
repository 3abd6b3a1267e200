"""What a model card holds once every number is filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Text:
    """A statement: one paragraph, or a list of points.

    Attributes
    ----------
    lines : tuple of str
        The paragraph (one line) or the points; none is empty.
    points : bool
        Whether `lines` are the points of a list.
    """

    lines: tuple[str, ...]
    points: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A field of the card: what is known, or why nothing is.

    Attributes
    ----------
    texts : tuple of Text
        At least one; the reason where `available` is False.
    available : bool
        False where the field says "not available: reason".
    """

    texts: tuple[Text, ...]
    available: bool

    def plain(self) -> str:
        """Return the entry as plain text, points as lines that start with a hyphen."""
        blocks = [
            "\n".join(f"- {line}" for line in text.lines) if text.points else text.lines[0]
            for text in self.texts
        ]
        body = "\n\n".join(blocks)
        return body if self.available else f"not available: {body}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures: title, column headings, rows with a heading each."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the readable card: statements, then tables."""

    heading: str
    texts: tuple[Text, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """One of the 31 source attributes of a predictive decision support intervention."""

    number: int
    key: str
    paragraph: str
    group: str
    label: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class TripodItem:
    """One TRIPOD+AI item: where it is reported, or why it does not apply.

    Attributes
    ----------
    item, label : str
        Number in the checklist, and our short label.
    places : tuple of str
        Where it is reported; empty where the item does not apply.
    note : str
        What the reader should know, or the reason why it does not apply.
    """

    item: str
    label: str
    places: tuple[str, ...]
    note: str

    @property
    def applies(self) -> bool:
        """Whether the item applies to this model."""
        return bool(self.places)

    def plain(self) -> str:
        """Return where the item is reported, or "not applicable: reason"."""
        if not self.applies:
            return f"not applicable: {self.note}"
        where = "; ".join(self.places)
        return f"{where}. {self.note}" if self.note else f"{where}."


@dataclass(frozen=True, slots=True)
class Result:
    """A measured figure; `low` and `high` are None where it has no interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    level: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class KeyMetric:
    """Goal, results and background of one group of measures."""

    fields: Mapping[str, Entry]
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A publication that the card cites."""

    key: str
    authors: str
    title: str
    journal: str
    year: int
    doi: str


@dataclass(frozen=True, slots=True)
class AppliedCard:
    """Fields of the CHAI applied model card, by group and field name."""

    fields: Mapping[str, Mapping[str, Entry]]
    keywords: tuple[str, ...]
    metrics: Mapping[str, KeyMetric]


@dataclass(frozen=True, slots=True)
class Card:
    """A model card with every number filled in.

    Attributes
    ----------
    title, model, version, sha256 : str
        Heading; name, version and digest of the model that the card describes.
    released, updated : str
        ISO dates: release of the model, last change of the card's words.
    sections : tuple of Section
        The readable card.
    attributes : tuple of SourceAttribute
        31, in the order of the regulation.
    tripod : tuple of TripodItem
        52, in the order of the checklist.
    applied : AppliedCard
    references : tuple of Reference
    """

    title: str
    model: str
    version: str
    sha256: str
    released: str
    updated: str
    sections: tuple[Section, ...]
    attributes: tuple[SourceAttribute, ...]
    tripod: tuple[TripodItem, ...]
    applied: AppliedCard
    references: tuple[Reference, ...]


CardFormat = Literal["md", "html", "json", "chai-xml"]
