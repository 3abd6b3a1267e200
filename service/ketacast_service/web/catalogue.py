"""Words of the page, one file for each language, and numbers the way it writes them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from markupsafe import Markup, escape

from ketacast.prediction import Interval, Notice
from ketacast.prediction_text import of_100
from ketacast_service.errors import ServiceError

LANGUAGES: Final = ("en", "de", "es")
DEFAULT: Final = LANGUAGES[0]
NO_BREAK: Final = "\u00a0"
_NUMBER: Final = re.compile(r"\d+ to \d+|\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The words of one language.

    Attributes
    ----------
    language : str
        As in the attribute ``lang``.
    words : mapping of str to str
        Sentences by key, with ``{name}`` where a value stands.
    """

    language: str
    words: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return a sentence with its values filled in."""
        text = self.words[key]
        return text.format(**values) if values else text

    def marked(self, key: str, **values: object) -> Markup:
        """Return a sentence whose values may be markup; its own words are escaped."""
        return escape(self.words[key]).format(**values)

    def number(self, value: float, digits: int = 0, sign: str = "") -> str:
        """Write a number with this language's comma or point."""
        text = f"{value:{sign},.{digits}f}"
        if float(text.replace(",", "")) == 0:
            text = text.lstrip("+-")
        point, group = self.words["number.point"], self.words["number.group"]
        return text.translate({ord("."): point, ord(","): group}).replace("-", "\u2212")

    def of_100(self, probability: float) -> str:
        """Write a probability as a whole number of 100, rounded as everywhere."""
        return of_100(probability)

    def signed(self, difference: float) -> str:
        """Write a difference of probabilities as a whole number of 100 with its sign."""
        return self.number(float(of_100(difference)), 0, "+")

    def percent(self, share: float) -> str:
        """Write a share in percent."""
        return f"{of_100(share)}{NO_BREAK}%"

    def level(self, level: float) -> str:
        """Write the level of a range."""
        return f"{self.number(100 * level, 0 if round(100 * level, 6) % 1 == 0 else 1)}{NO_BREAK}%"

    def span(self, bounds: Interval | tuple[float, float]) -> str:
        """Write two bounds as whole numbers of 100."""
        return self("span", low=of_100(bounds[0]), high=of_100(bounds[1]))

    def signed_span(self, bounds: Interval | tuple[float, float]) -> str:
        """Write two bounds of a difference."""
        return self("span", low=self.signed(bounds[0]), high=self.signed(bounds[1]))

    def figure(self, text: str) -> str:
        """Write a figure of the model card, which is English text, in this language."""
        if self.language == DEFAULT:
            return text
        point, group = self.words["number.point"], self.words["number.group"]
        text = text.translate({ord("."): point, ord(","): group}).replace("-", "\u2212")
        if match := re.fullmatch(r"(\d+) of (\d+)", text):
            return self("evidence.of", events=match[1], n=match[2])
        return re.sub(r"(\S+) to ([^\s)]+)", lambda m: self("span", low=m[1], high=m[2]), text)

    def notice(self, notice: Notice) -> tuple[str, bool]:
        """Return a notice in this language, and whether it had to stay in English."""
        if self.language == DEFAULT:
            return notice.message, False
        text = self.words.get(f"notice.{notice.code}")
        if text is None:
            return notice.message, True
        return self.fill(text, notice.message), False

    def fill(self, text: str, message: str) -> str:
        """Put the numbers of an English message, in their order, into a translation."""
        found = []
        for number in _NUMBER.findall(message):
            low, _, high = number.partition(" to ")
            found.append(self("span", low=low, high=high) if high else number)
        return text.format(*found)


@lru_cache(maxsize=len(LANGUAGES))
def catalogue(language: str) -> Catalogue:
    """Read the words of a language.

    Raises
    ------
    ServiceError
        If there is no such language.
    """
    if language not in LANGUAGES:
        raise ServiceError(f"no catalogue for {language!r}; give one of {', '.join(LANGUAGES)}")
    source = files(__package__) / "catalogues" / f"{language}.toml"
    return Catalogue(language, flat(tomllib.loads(source.read_text(encoding="utf-8"))))


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Join the keys of nested tables by points."""
    found: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{before}{name}."))
        else:
            found[before + name] = value
    return found


def choose(asked: str | None, accept: str) -> str:
    """Choose a language: the one asked for, else the first that the browser accepts.

    Parameters
    ----------
    asked : str or None
        Parameter ``lang`` of the address.
    accept : str
        Header ``Accept-Language``.
    """
    if asked in LANGUAGES:
        return str(asked)
    wanted = []
    for place, part in enumerate(accept.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        try:
            rank = float(weight) if weight else 1.0
        except ValueError:
            continue
        wanted.append((-rank, place, tag.lower().partition("-")[0]))
    return next((tag for rank, _, tag in sorted(wanted) if rank < 0 and tag in LANGUAGES), DEFAULT)
