"""How many times a day a dose is taken, from words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

#: Days in a "month" of an instruction.
_MONTH: Final = 30.4375
_EACH: Final = r"(?:a|per|/|each|every|am|pro|por|al|ao|par)"
_DAY: Final = r"(?:day|tag|dag|jour|dia|giorno|d\b)"
_TIMES: Final = r"(?:x|times?|mal|maal|fois|veces|vezes|volte)"


_AND: Final = re.compile(r"\band\b|&|\+|\bplus\b|\bund\b|\bet\b|\by\b|\ben\b")


class Frequency(NamedTuple):
    """Times a day, where they stand, and whether only the part of a day is named."""

    times: float
    start: int
    end: int
    moment: str = ""


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts))


#: Phrases, the longer reading of each place first. A group is a number that multiplies
#: (``n``) or divides (``every``).
_PHRASES: Final[tuple[tuple[re.Pattern[str], float], ...]] = (
    (
        _pattern(
            rf"(?P<n>\d+) ?{_TIMES} ?(?:{_EACH} ?)?(?:week|woche|semaine|semana|settimana)(?:ly)?",
            rf"(?P<n2>\d+) ?{_TIMES} ?weekly",
        ),
        1 / 7,
    ),
    (_pattern(r"twice (?:a|per|each|every) week|twice weekly"), 2 / 7),
    (
        _pattern(
            rf"(?P<n>\d+) ?(?:-|to) ?(?P<most>\d+) ?{_TIMES} ?(?:{_EACH} ?)?(?:{_DAY}|daily)",
            rf"(?P<n2>\d+) ?{_TIMES} ?(?:{_EACH} ?)?(?:{_DAY}|daily|tgl\b|taglich|daags|dagelijks)",
        ),
        1.0,
    ),
    (
        _pattern(
            r"every (?P<every>\d+) ?(?:hours?|hrs?|h\b)",
            r"cada (?P<every2>\d+) horas",
            r"\bq ?(?P<every3>\d+) ?h(?:r|rs|ours?)?\b",
        ),
        24.0,
    ),
    (_pattern(r"every (?P<every>\d+) days?", r"\bq ?(?P<every2>\d+) ?d(?:ays?)?\b"), 1.0),
    (_pattern(r"every (?P<every>\d+) weeks?", r"\bq ?(?P<every2>\d+) ?wk?s?\b"), 1 / 7),
    (_pattern(r"every other day|every 2nd day|every second day|alternate days?|\bqod\b"), 0.5),
    (
        _pattern(
            r"(?:once )?(?:a|per|each|every|/) ?week\b",
            r"(?:once )?weekly|\bqw(?:eek|k)?\b",
        ),
        1 / 7,
    ),
    (_pattern(r"(?:once )?(?:a|per|each|every) month\b|monthly"), 1 / _MONTH),
    (_pattern(r"\bq\.?i\.?d\b\.?|\bqds\b"), 4.0),
    (_pattern(r"\bt\.?i\.?d\b\.?|\btds\b|\bthrice (?:a day|daily)"), 3.0),
    (
        _pattern(
            r"\bb\.?i\.?d\b\.?|\bb\.?d\b\.?",
            rf"twice (?:daily|{_EACH} ?{_DAY})|twice\b",
            r"zweimal (?:am tag|taglich)|tweemaal daags",
        ),
        2.0,
    ),
    (
        _pattern(
            r"once daily|once (?:a|per|each|every) day|einmal (?:am tag|taglich)",
            r"\bq\.?d\b\.?|\bqday\b|\bo\.?d\b\.?|\bdaily\b|(?:every|each|per|a) day|/ ?day\b",
            r"\btaglich\b|\btgl\b|\bam tag\b|par jour|(?:al|ao|por|cada) dia|al giorno|per dag",
            r"\bdagelijks\b|\bdagligen\b",
        ),
        1.0,
    ),
)
_MOMENTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        _pattern(
            r"\b(?:every|each|in the|at|with) (?:morning|breakfast)|\bmornings?\b|\bqam\b|\bmane\b",
            r"\bmorgens\b|\bfruh\b|le matin|por la manana|pela manha|al mattino",
            r"\b(?:in|every|each) (?:the )?a\.?m\b|\d ?a\.?m\b",
            r"'s ochtends",
        ),
        "morning",
    ),
    (
        _pattern(
            r"\b(?:at|with) (?:noon|lunch|midday)|\bmittags\b|\bmidi\b|\b(?:at|in the) afternoon",
            r"\bafternoons?\b",
        ),
        "noon",
    ),
    (
        _pattern(
            r"\b(?:every|each|in the|at|with) (?:evening|dinner|supper)|\bevenings?\b|\bqpm\b",
            r"\babends\b|le soir|\b(?:in|every|each) (?:the )?p\.?m\b|\d ?p\.?m\b",
        ),
        "evening",
    ),
    (
        _pattern(
            r"\b(?:at|every|each|before|for) (?:night|bedtime|bed)\b|\bbedtime\b|\bnightly\b",
            r"\bqhs\b|\bhs\b|\bnocte\b|\bnachts\b|zur nacht|au coucher|a la noche|por la noche",
            r"a noite|\bnights?\b",
        ),
        "night",
    ),
)


@lru_cache(maxsize=4096)
def frequencies(plain: str) -> tuple[Frequency, ...]:
    """Find what says how often a day, in the order of the words.

    `plain` is what :func:`ketacast.history.plain_words.with_digits` gives.
    """
    taken: list[tuple[int, int]] = []
    found: list[Frequency] = []
    for pattern, scale in _PHRASES:
        for match in pattern.finditer(plain):
            if _is_free(match, taken):
                taken.append(match.span())
                found += [Frequency(t, *match.span()) for t in _times(match, scale)]
    for pattern, moment in _MOMENTS:
        for match in pattern.finditer(plain):
            if _is_free(match, taken):
                taken.append(match.span())
                found.append(Frequency(1.0, *match.span(), moment))
    return tuple(sorted(found, key=lambda one: (one.start, one.times)))


def _is_free(match: re.Match[str], taken: list[tuple[int, int]]) -> bool:
    return all(match.end() <= first or last <= match.start() for first, last in taken)


def _times(match: re.Match[str], scale: float) -> Iterator[float]:
    """Give the times a day of a phrase; of "2 to 3 times a day" both."""
    groups = {name: float(value) for name, value in match.groupdict().items() if value}
    every = [value for name, value in groups.items() if name.startswith("every")]
    if every:
        yield scale / every[0] if every[0] else scale
        return
    many = [value for name, value in groups.items() if name != "most"]
    yield scale * (many[0] if many else 1.0)
    if "most" in groups:
        yield scale * groups["most"]


def times_in_words(plain: str) -> tuple[float, float] | None:
    """Fewest and most times a day that the words of one dose tell; None if none.

    Examples
    --------
    >>> times_in_words("2 times daily")
    (2.0, 2.0)
    >>> times_in_words("every morning and at bedtime")
    (2.0, 2.0)
    """
    found = frequencies(plain)
    if not found:
        return None
    fewest, most = _moments(plain, [one for one in found if one.moment])
    stated = [one.times for one in found if not one.moment]
    if not stated:
        return fewest, most
    # "Daily, in the morning and at night" may mean once or twice.
    return min(stated), (max(*stated, most) if most > 1 else max(stated))


def _moments(plain: str, found: list[Frequency]) -> tuple[float, float]:
    """Count the parts of the day: "every evening at bedtime" is one, "and" makes two."""
    fewest = most = float(bool(found))
    for before, after in pairwise(found):
        if before.moment == after.moment:
            continue
        between = plain[before.end : after.start]
        is_other = _AND.search(between) is not None
        fewest += is_other
        most += is_other or "," in between or "/" in between
    return fewest, most
