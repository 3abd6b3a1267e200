"""The card as Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from ketacast.card.checklists import REGULATION
from ketacast.card.records import Card, Entry, Table, Text

_WIDTH: Final = 100
# Characters that start or close Markdown or HTML inside a line.
_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|~])")
# A line that starts like a list, a heading or a numbered point.
_START: Final = re.compile(r"^(\s*)(\d*)([-+#=.)])(?=\s|$|#)")


def escaped(text: str) -> str:
    """Escape what Markdown would read as markup."""
    safe = _SPECIAL.sub(r"\\\1", text.replace("&", "&amp;"))
    return _START.sub(_unlisted, safe)


def _unlisted(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}\\{match[3]}"


def markdown(card: Card) -> str:
    """Lay a card out as Markdown.

    Parameters
    ----------
    card : Card

    Returns
    -------
    str
        One page, lines of prose at most 100 columns wide; ends with a line feed.
    """
    lines = [f"# {escaped(card.title)}", "", *_wrapped(_identity(card)), ""]
    for section in card.sections:
        lines += [f"## {escaped(section.heading)}", ""]
        for text in section.texts:
            lines += [*_text(text), ""]
        for table in section.tables:
            lines += [*_table(table), ""]
    lines += _attributes(card) + _tripod(card)
    lines += ["## References", ""]
    for reference in card.references:
        words = (
            f"{reference.authors}. {reference.title}. {reference.journal} {reference.year}. "
            f"doi:{reference.doi}"
        )
        lines += _wrapped(escaped(words), "- ")
    return "\n".join(lines) + "\n"


def _identity(card: Card) -> str:
    return escaped(
        f"Model {card.model} {card.version}, released {card.released}, SHA-256 "
        f"{card.sha256}. Words of this card last changed {card.updated}; its numbers are read "
        "from the model's files when the card is made."
    )


def _wrapped(text: str, first: str = "") -> list[str]:
    lines = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    # Wrapping can bring "- " or "2. " to the start of a line, where it means a list.
    return lines[:1] + [_START.sub(_unlisted, line) for line in lines[1:]]


def _text(text: Text) -> list[str]:
    if not text.points:
        return _wrapped(escaped(text.lines[0]))
    return [line for point in text.lines for line in _wrapped(escaped(point), "- ")]


def _table(table: Table) -> list[str]:
    return [f"**{escaped(table.title)}**", "", *_grid(table.columns, table.rows)]


def _grid(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    return [
        f"| {' | '.join(escaped(name) for name in columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(cell for cell in row)} |" for row in _escaped_rows(rows)),
    ]


def _escaped_rows(rows: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [[escaped(cell) for cell in row] for row in rows]


def _cell(entry: Entry) -> str:
    """Return the one line of a table cell; paragraphs and points are parted by breaks."""
    parts = []
    for text in entry.texts:
        parts += [f"• {escaped(line)}" if text.points else escaped(line) for line in text.lines]
    body = "<br>".join(parts)
    return body if entry.available else f"*not available:* {body}"


def _attributes(card: Card) -> list[str]:
    lines = ["## Source attributes of a predictive decision support intervention", ""]
    lines += _wrapped(escaped(attributes_summary(card)))
    group = ""
    for attribute in card.attributes:
        if attribute.group != group:
            group = attribute.group
            lines += [
                "",
                f"### {escaped(group)}",
                "",
                "| (B) | attribute | value |",
                "|---|---|---|",
            ]
        lines.append(
            f"| {attribute.paragraph} | {escaped(attribute.label)} | {_cell(attribute.entry)} |"
        )
    return [*lines, ""]


def _tripod(card: Card) -> list[str]:
    lines = ["## TRIPOD+AI", "", *_wrapped(escaped(tripod_summary(card))), ""]
    lines += ["| item | topic | where reported |", "|---|---|---|"]
    for item in card.tripod:
        lines.append(f"| {item.item} | {escaped(item.label)} | {escaped(item.plain())} |")
    return [*lines, ""]


def attributes_summary(card: Card) -> str:
    """Say how many source attributes there are and how many are not available."""
    given = sum(attribute.entry.available for attribute in card.attributes)
    return (
        f"The {len(card.attributes)} attributes of {REGULATION}, with our short labels: "
        f"{given} are given, {len(card.attributes) - given} are not available and say why. "
        "ketacast is not certified health IT; the list is for those who must show it."
    )


def tripod_summary(card: Card) -> str:
    """Say how many items there are and how many do not apply."""
    applies = sum(item.applies for item in card.tripod)
    return (
        f"Where each of the {len(card.tripod)} parts of the reporting checklist for prediction "
        f"models is answered, with our short labels; {len(card.tripod) - applies} do not apply "
        "and say why. The checklist was written for studies of patients; here the unit is a "
        "published cohort."
    )
