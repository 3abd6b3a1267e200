"""Names that are one slip away from an antidepressant's: seen, but not counted."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ketacast.history.drugs import drug_table
from ketacast.history.plain_words import folded

#: Shorter names have neighbours that are other drugs or plain words.
SHORTEST: Final = 8
_MOST_TEXT: Final = 400
_WORD: Final = re.compile(rf"[a-z]{{{SHORTEST - 1},{40}}}")


@lru_cache(maxsize=1)
def _with_one_letter_less() -> dict[str, tuple[str, ...]]:
    """Names by what is left of them without one letter, and by themselves."""
    found: dict[str, set[str]] = {}
    for name, drug in drug_table().written.items():
        if len(name) >= SHORTEST and name.isalpha() and drug.kind == "antidepressant":
            for part in {name, *_deleted(name)}:
                found.setdefault(part, set()).add(name)
    return {part: tuple(sorted(names)) for part, names in found.items()}


def _deleted(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place in range(len(word))]


def near_drug(text: str) -> str | None:
    """Find the antidepressant that a word of a text may mean but misspells.

    One letter too many, too few, wrong, or two exchanged. No other drug is that close
    to a name in the tables, but a slip is no proof: the record is listed, not counted.

    Examples
    --------
    >>> near_drug("Venlafaxene 75 mg")
    'venlafaxine'
    """
    table = _with_one_letter_less()
    for match in _WORD.finditer(folded(text[:_MOST_TEXT])):
        word = match[0]
        for part in (word, *_deleted(word)):
            for name in table.get(part, ()):
                if name != word and _is_one_slip(word, name):
                    return drug_table().written[name].name
    return None


def _is_one_slip(word: str, name: str) -> bool:
    if len(word) != len(name):
        short, long = sorted((word, name), key=len)
        return len(long) == len(short) + 1 and short in _deleted(long)
    wrong = [place for place, (a, b) in enumerate(zip(word, name, strict=True)) if a != b]
    if len(wrong) == 2 and wrong[1] == wrong[0] + 1:
        return word[wrong[0]] == name[wrong[1]] and word[wrong[1]] == name[wrong[0]]
    return len(wrong) == 1
