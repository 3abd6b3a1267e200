"""The card as one HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from ketacast.card.markdown_page import attributes_summary, tripod_summary
from ketacast.card.records import Card, Entry, SourceAttribute, Table, Text

# Text 12:1 and links 6:1 against the ground, both schemes (WCAG 2.2: 4.5:1).
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2328; --ground: #ffffff; --soft: #f2f4f7;
  --line: #8a929c; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --ground: #14171b; --soft: #20252b; --line: #7d8792; --link: #8fc1ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--ink);
  background: var(--ground); font: 1rem/1.55 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; margin: 1.6em 0 0.5em; }
h1 { margin-top: 0.5em; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
nav li { margin: 0.15rem 0; }
nav a { display: inline-block; min-height: 1.5rem; }
li { margin: 0.3rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { border: 1px solid var(--line); padding: 0.35rem 0.5rem; text-align: left;
  vertical-align: top; }
thead th { background: var(--soft); }
tbody th { font-weight: 600; }
td p, td ul { margin: 0.2rem 0; }
td ul { padding-left: 1.2rem; }
@media print {
  :root { color-scheme: light; --ink: #000000; --ground: #ffffff; --soft: #f2f4f7;
    --line: #8a929c; --link: #000000; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  .scroll { overflow: visible; }
  thead { display: table-header-group; }
  tr, h2, h3 { break-inside: avoid; break-after: auto; }
  h2, h3 { break-after: avoid; }
}
"""


def html(card: Card) -> str:
    """Lay a card out as one self-contained HTML page.

    Parameters
    ----------
    card : Card

    Returns
    -------
    str
        A document in UTF-8 with its style inside, without scripts or outside
        resources; ends with a line feed.
    """
    body: list[str] = []
    contents: list[tuple[str, str]] = []
    for section in card.sections:
        content = [part for text in section.texts for part in _text(text)]
        content += [line for table in section.tables for line in _figure_table(table)]
        _add_section(body, contents, section.heading, content)
    _add_section(
        body,
        contents,
        "Source attributes of a predictive decision support intervention",
        _attributes(card),
    )
    _add_section(body, contents, "TRIPOD+AI", _tripod(card))
    _add_section(body, contents, "References", _references(card))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(card.title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#content">Skip to the content</a>',
        "<header>",
        f"<h1>{escape(card.title)}</h1>",
        _identity(card),
        "</header>",
        '<nav aria-label="Contents">',
        "<ol>",
        *(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading in contents),
        "</ol>",
        "</nav>",
        '<main id="content">',
        *body,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _identity(card: Card) -> str:
    return (
        f"<p>Model {escape(card.model)} {escape(card.version)}, released "
        f'<time datetime="{escape(card.released)}">{escape(card.released)}</time>, SHA-256 '
        f"<code>{escape(card.sha256[:12])}</code>. Words of this card last changed "
        f'<time datetime="{escape(card.updated)}">{escape(card.updated)}</time>; its numbers '
        "are read from the model’s files when the card is made.</p>"
    )


def _add_section(
    body: list[str], contents: list[tuple[str, str]], heading: str, content: Sequence[str]
) -> None:
    slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    name = f"part-{len(contents) + 1}-{slug}".rstrip("-")
    contents.append((name, heading))
    body += [
        f'<section aria-labelledby="{name}">',
        f'<h2 id="{name}">{escape(heading)}</h2>',
        *content,
        "</section>",
    ]


def _text(text: Text) -> list[str]:
    if not text.points:
        return [f"<p>{escape(text.lines[0])}</p>"]
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in text.lines), "</ul>"]


def _figure_table(table: Table) -> list[str]:
    rows = [[row[0], *(escape(cell) for cell in row[1:])] for row in table.rows]
    return _grid(table.title, table.columns, rows)


def _grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay a table out: the first cell of a row is its heading (text), the rest is markup."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = [
        f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0">',
        "<table>",
        f"<caption>{escape(title)}</caption>",
        "<thead>",
        f"<tr>{heads}</tr>",
        "</thead>",
        "<tbody>",
    ]
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return [*lines, "</tbody>", "</table>", "</div>"]


def _entry(entry: Entry) -> str:
    body = "".join(part for text in entry.texts for part in _text(text))
    return body if entry.available else f"<p><strong>Not available:</strong></p>{body}"


def _attributes(card: Card) -> list[str]:
    lines = [f"<p>{escape(attributes_summary(card))}</p>"]
    groups: dict[str, list[SourceAttribute]] = {}
    for attribute in card.attributes:
        groups.setdefault(attribute.group, []).append(attribute)
    for group, members in groups.items():
        rows = [[m.label, escape(m.paragraph), _entry(m.entry)] for m in members]
        lines += [f"<h3>{escape(group)}</h3>", *_grid(group, ("Attribute", "(B)", "Value"), rows)]
    return lines


def _tripod(card: Card) -> list[str]:
    rows = [[item.item, escape(item.label), escape(item.plain())] for item in card.tripod]
    columns = ("Item", "Topic", "Where reported")
    return [f"<p>{escape(tripod_summary(card))}</p>", *_grid("TRIPOD+AI items", columns, rows)]


def _references(card: Card) -> list[str]:
    lines = ["<ul>"]
    for reference in card.references:
        address = escape(f"https://doi.org/{reference.doi}")
        lines.append(
            f"<li>{escape(reference.authors)}. {escape(reference.title)}. "
            f"<cite>{escape(reference.journal)}</cite> {reference.year}. "
            f'<a href="{address}">doi:{escape(reference.doi)}</a></li>'
        )
    return [*lines, "</ul>"]
