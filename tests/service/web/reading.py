"""Numbers read back from the page's HTML, exact ones and those that are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"input", "meta", "link", "br", "img"}


@dataclass(slots=True)
class Number:
    """One ``<data>``: its exact values, the text that is shown, and where it stands.

    Attributes
    ----------
    name : str
        What it is, such as ``expected``.
    level : str
        Of a range.
    values : tuple of float
        One, or two bounds.
    text : str
        As shown.
    around : mapping of str to str
        Attributes ``data-*`` and ids of the elements around it, the innermost first.
    """

    name: str
    level: str
    values: tuple[float, ...]
    around: dict[str, str]
    text: str = ""


@dataclass
class _Reader(HTMLParser):
    numbers: list[Number] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "data":
            around: dict[str, str] = {}
            for _, one in reversed(self._open):
                for name, value in one.items():
                    if name.startswith("data-") or name == "id":
                        around.setdefault(name, value)
            values = tuple(float(part) for part in given["value"].split(","))
            level = given.get("data-level", "")
            self.numbers.append(Number(given["data-name"], level, values, around))
        if tag not in _VOID:
            self._open.append((tag, given))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Pass over an element of a figure, which holds nothing."""

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            found, _ = self._open.pop()
            if found == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "data":
            self.numbers[-1].text += data


def numbers_of(html: str) -> list[Number]:
    """Return every number of a page, in order."""
    reader = _Reader()
    reader.feed(html)
    return reader.numbers


def chosen(numbers: list[Number], **around: str) -> dict[tuple[str, str], Number]:
    """Return numbers by name and level where the elements around have these attributes."""
    wanted = {name.replace("_", "-"): value for name, value in around.items()}
    return {
        (one.name, one.level): one
        for one in numbers
        if all(one.around.get(name) == value for name, value in wanted.items())
    }
