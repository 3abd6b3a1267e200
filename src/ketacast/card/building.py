"""Parts of a card from parts of its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ketacast.card.figures import fill
from ketacast.card.records import Entry, Reference, Result, Text, TripodItem
from ketacast.errors import ArtifactError

_REFERENCE_KEYS: Final = ("key", "authors", "title", "journal", "year", "doi")


def mapping_at(value: object, where: str) -> Mapping[str, Any]:
    """Return a value that must be a mapping with text keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ArtifactError(f"{where} is {value!r}; give a mapping with text keys")
    return value


def sequence_at(value: object, where: str, *, empty: bool = False) -> Sequence[Any]:
    """Return a value that must be a list, with at least one item unless `empty`."""
    if not isinstance(value, list) or not (value or empty):
        raise ArtifactError(f"{where} is {value!r}; give a list with at least one item")
    return value


def text_at(value: object, where: str) -> str:
    """Return a value that must be text."""
    if not isinstance(value, str):
        raise ArtifactError(f"{where} is {value!r}; give a text (in quotes if it looks otherwise)")
    return value


def exact_keys(given: Mapping[str, Any], wanted: Iterable[str], where: str) -> None:
    """Refuse a mapping whose keys are not exactly those wanted."""
    names = list(wanted)
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        raise ArtifactError(f"{where}: missing {missing}, unknown {unknown}; keys are {names}")


class Builder:
    """Turns entries of ``card.yaml`` into records, figures filled in.

    Parameters
    ----------
    content : mapping
        The file; ``texts``, ``capabilities`` and ``pages`` are used.
    values : mapping of str to str
        Figures by name.

    Raises
    ------
    ArtifactError
        If a text is blank, not text, or names an unknown figure.
    """

    def __init__(self, content: Mapping[str, Any], values: Mapping[str, str]) -> None:
        self._values = values
        pages = mapping_at(content["pages"], "pages")
        self._pages = {key: text_at(value, f"pages.{key}") for key, value in pages.items()}
        self._texts = {
            name: self._text(value, f"texts.{name}")
            for name, value in mapping_at(content["texts"], "texts").items()
        }
        for number, value in enumerate(sequence_at(content["capabilities"], "capabilities")):
            name, text = self._capability(value, f"capabilities[{number}]")
            if name in self._texts:
                raise ArtifactError(f"capabilities: {name!r} is also another text; rename it")
            self._texts[name] = text

    def filled(self, text: str, where: str) -> str:
        """Return a text with its figures."""
        return fill(text, self._values, where)

    def _text(self, value: object, where: str) -> Text:
        if isinstance(value, list):
            points = tuple(self.filled(text_at(line, where), where) for line in value)
            if not points:
                raise ArtifactError(f"{where} is an empty list; give at least one point")
            return Text(points, points=True)
        return Text((self.filled(text_at(value, where), where),), points=False)

    def _capability(self, value: object, where: str) -> tuple[str, Text]:
        given = mapping_at(value, where)
        exact_keys(
            {"shown_by": "", **given}, ("name", "available", "shown_by", "says", "otherwise"), where
        )
        if not isinstance(given["available"], bool):
            raise ArtifactError(f"{where}.available is {given['available']!r}; give true or false")
        texts = {key: self._text(given[key], f"{where}.{key}") for key in ("says", "otherwise")}
        return text_at(given["name"], where), texts["says" if given["available"] else "otherwise"]

    def shown(self, names: object, where: str) -> tuple[Text, ...]:
        """Return the named texts.

        Raises
        ------
        ArtifactError
            If a name is unknown or none is given.
        """
        found = []
        for name in sequence_at(names, f"{where}.show"):
            if name not in self._texts:
                raise ArtifactError(f"{where}: no text is named {name!r}; add it under `texts`")
            found.append(self._texts[name])
        return tuple(found)

    def entry(self, value: object, where: str) -> Entry:
        """Return a field: a text, ``show: [names]`` or ``not_available: reason``."""
        if not isinstance(value, Mapping):
            return Entry((self._text(value, where),), available=True)
        given = mapping_at(value, where)
        if set(given) == {"show"}:
            return Entry(self.shown(given["show"], where), available=True)
        exact_keys(given, ("not_available",), where)
        return Entry((self._text(given["not_available"], where),), available=False)

    def entries(self, value: object, names: Sequence[str], where: str) -> dict[str, Entry]:
        """Return all fields of a group, none missing and none unknown."""
        given = mapping_at(value, where)
        exact_keys(given, names, where)
        return {name: self.entry(given[name], f"{where}.{name}") for name in names}

    def tripod_item(self, item: str, label: str, value: object, where: str) -> TripodItem:
        """Return an item: ``at: [places]`` with a note, or ``not_applicable: reason``."""
        given = mapping_at(value, where)
        if "not_applicable" in given:
            exact_keys(given, ("not_applicable",), where)
            reason = text_at(given["not_applicable"], where)
            return TripodItem(item, label, (), self.filled(reason, where))
        exact_keys({"note": "", **given}, ("at", "note"), where)
        places = tuple(
            self._place(text_at(place, where), where)
            for place in sequence_at(given["at"], f"{where}.at")
        )
        note = self.filled(text_at(given["note"], where), where) if "note" in given else ""
        return TripodItem(item, label, places, note)

    def _place(self, place: str, where: str) -> str:
        """Turn ``page`` or ``page: heading`` into words."""
        key, colon, heading = place.partition(": ")
        if key not in self._pages:
            raise ArtifactError(f"{where}: no page is named {key!r}; use {sorted(self._pages)}")
        page = self._pages[key]
        return f"{page}, “{self.filled(heading, where)}”" if colon else page

    def result(self, value: object, where: str) -> Result:
        """Return a measured figure; its numbers must be figures, not typed."""
        given = mapping_at(value, where)
        if len(given) <= len(("label", "value", "unit")):
            exact_keys(given, ("label", "value", "unit"), where)
            low = high = level = None
        else:
            exact_keys(given, ("label", "value", "unit", "low", "high", "level"), where)
            low, high = self._number(given["low"], where), self._number(given["high"], where)
            level = float(given["level"])
        return Result(
            self.filled(text_at(given["label"], where), where),
            self._number(given["value"], where),
            low,
            high,
            level,
            self.filled(text_at(given["unit"], where), where),
        )

    def _number(self, value: object, where: str) -> float:
        text = self.filled(text_at(value, where), where)
        try:
            return float(text.replace(",", ""))
        except ValueError as error:
            raise ArtifactError(f"{where}: {value!r} is {text!r}, which is no number") from error

    def reference(self, value: object, where: str) -> Reference:
        """Return a publication."""
        given = mapping_at(value, where)
        exact_keys(given, _REFERENCE_KEYS, where)
        if not isinstance(given["year"], int):
            raise ArtifactError(f"{where}.year is {given['year']!r}; give a whole number")
        texts = {
            key: self.filled(text_at(given[key], f"{where}.{key}"), f"{where}.{key}")
            for key in _REFERENCE_KEYS
            if key != "year"
        }
        return Reference(year=given["year"], **texts)
