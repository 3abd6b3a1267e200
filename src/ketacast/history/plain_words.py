"""Words of an instruction made uniform: lower case, no accents, numbers as digits."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_NUMBER_WORDS: Final = {
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "eine": "1",
    "zwei": "2",
    "drei": "3",
    "une": "1",
    "deux": "2",
    "trois": "3",
    "una": "1",
    "dos": "2",
    "tres": "3",
    "due": "2",
    "uma": "1",
    "dois": "2",
    "duas": "2",
    "een": "1",
    "twee": "2",
}
_FRACTIONS: Final = {"½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "⁄": "/"}
_QUARTERS: Final = {"1/2": 0.5, "1/4": 0.25, "3/4": 0.75}
_A_NUMBER: Final = r"\d+(?:\.\d+)?"
#: Each is replaced in turn; the order matters.
_REWRITTEN: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"(?<=\d),(?=\d{1,2}(?!\d))", "."),
        (r"\b(" + "|".join(_NUMBER_WORDS) + r")\b", "<number>"),
        (r"\b1[- ]half\b", "1/2"),
        (r"(?:\band (?:a |1/2 )?half\b)", "and 1/2"),
        (r"(?<![\d/.])(?:a )?half (?:a |of (?:a |1 ))?(?=tab|cap|pill)", "1/2 "),
        (r"(?<![\w.])(i{1,3})(?= *(?:tab|cap|pill|po\b))", "<roman>"),
        (r"\b(" + _A_NUMBER + r") ?\(\1\)", r"\1"),
        # "2 tablets (two tablets)" and "1 tablet(s)" say nothing more.
        (r"\((\d+ [a-z]+)\)", r"(\1)"),
        (r"\(s\)|\(en\)|\(n\)|\(es\)", ""),
    )
)
_MIXED: Final = re.compile(r"(?<![\d/.])(?:(\d+) (?:and )?)?(1/2|1/4|3/4)(?![\d/])")


def folded(words: str) -> str:
    """Write words in lower case, without accents, with single spaces."""
    if words.isascii():
        return " ".join(words.lower().split())
    parts = unicodedata.normalize("NFKD", words.replace("’", "'").lower())
    return " ".join("".join(c for c in parts if not unicodedata.combining(c)).split())


@lru_cache(maxsize=4096)
def with_digits(words: str) -> str:
    """Write the numbers of an instruction as digits.

    Examples
    --------
    >>> with_digits("Take one and a half (1½) tablets, 37,5 mg")
    'take 1.5 tablets, 37.5 mg'
    """
    for sign, fraction in _FRACTIONS.items():
        words = words.replace(sign, fraction)
    lowered = folded(words)
    for pattern, new in _REWRITTEN:
        if new == "<number>":
            lowered = pattern.sub(lambda match: _NUMBER_WORDS[match[1]], lowered)
        elif new == "<roman>":
            lowered = pattern.sub(lambda match: str(len(match[1])), lowered)
        else:
            lowered = pattern.sub(new, lowered)
    lowered = _MIXED.sub(_mixed, lowered)
    return " ".join(re.sub(r"\b(" + _A_NUMBER + r") ?\( ?\1 ?\)", r"\1", lowered).split())


def _mixed(match: re.Match[str]) -> str:
    return f"{int(match[1] or 0) + _QUARTERS[match[2]]:g}"
