"""A daily dose from the words of an instruction: only where they are plain."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ketacast.history.drugs import Strength

#: Words after which the dose is not one dose any more, or not one that was taken.
_UNCLEAR: Final = re.compile(
    r"increas|decreas|titrat|taper|wean|then|until|reduc|adjust|alternat|half|1/2|hold|stop|"
    r"discontinu|not |or as|up to|max"
)
_AS_NEEDED: Final = re.compile(r"\bprn\b|as needed|if needed|when required|as required")
_MG: Final = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:-|to)?\s*(\d+(?:\.\d+)?)?\s*mg\b(?!\s*/\s*(?:m|\d|h))"
)
_ML: Final = re.compile(r"(\d+(?:\.\d+)?)\s*ml\b")
_COUNT: Final = re.compile(
    r"(\d+(?:\.\d+)?|one|two|three|four)\s*(?:-|to)?\s*(\d+(?:\.\d+)?|two|three|four)?\s*"
    r"(?:tab|cap|pill|patch)"
)
_WORD_NUMBERS: Final = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}
_TIMES: Final[tuple[tuple[re.Pattern[str], float], ...]] = tuple(
    (re.compile(pattern), times)
    for pattern, times in (
        (r"\bqid\b|four times (?:a|per|/) ?day|4 times (?:a|per) day|four times daily", 4.0),
        (r"\btid\b|three times (?:a|per) day|3 times (?:a|per) day|three times daily", 3.0),
        (
            (
                r"\bb\.?i\.?d\b|twice|two times (?:a|per) day|2 times (?:a|per) day|"
                r"every 12 hours|morning and (?:evening|night|bedtime)"
            ),
            2.0,
        ),
        (r"every other day|alternate days|\bqod\b", 0.5),
        (r"weekly|(?:a|per|every) week", 1 / 7),
        (
            (
                r"\bqd\b|\bq\.d\.|\bod\b|daily|every day|(?:a|per) day|/day|at bedtime|\bqhs\b|"
                r"\bhs\b|\bnightly\b|at night|every (?:morning|evening|night)|in the (?:morning|"
                r"evening)|\bqam\b|\bqpm\b|\bmane\b|\bnocte\b|every 24 hours"
            ),
            1.0,
        ),
    )
)


@lru_cache(maxsize=4096)
def daily_amount(words: str, strength: Strength | None) -> tuple[float, float] | None:
    """Read milligrams a day, proven and possible.

    Returns
    -------
    (float, float) or None
        None if the words are not plain enough: several doses, steps, conditions.

    Examples
    --------
    >>> daily_amount("Take 1 tablet (50 mg total) by mouth twice a day", None)
    (100.0, 100.0)
    """
    lowered = " ".join(words[:300].lower().split())
    if _UNCLEAR.search(lowered):
        return None
    times = next((times for pattern, times in _TIMES if pattern.search(lowered)), None)
    if times is None:
        return None
    each = _each_time(lowered, strength)
    if each is None:
        return None
    low, high = each[0] * times, each[1] * times
    return (0.0 if _AS_NEEDED.search(lowered) else low), high


def _each_time(lowered: str, strength: Strength | None) -> tuple[float, float] | None:
    amounts = {match.groups() for match in _MG.finditer(lowered)}
    counts = {match.groups() for match in _COUNT.finditer(lowered)}
    if len(amounts) > 1 or len(counts) > 1:
        return None
    units = _span(*counts.pop()) if counts else None
    if amounts:
        low, high = _span(*amounts.pop())
        # "2 tablets of 50 mg" and "2 tablets (100 mg total)" differ by what 100 mg is.
        if units is None or units == (1.0, 1.0) or "total" in lowered:
            return low, high
        return low * 1.0, high * units[1]
    if units is not None and strength is not None and strength.per == "unit":
        return strength.low * units[0], strength.high * units[1]
    volumes = {match[1] for match in _ML.finditer(lowered)}
    if len(volumes) == 1 and strength is not None and strength.per == "mL":
        volume = float(volumes.pop())
        return strength.low * volume, strength.high * volume
    return None


def _span(first: str, second: str | None) -> tuple[float, float]:
    low = _WORD_NUMBERS.get(first) or float(first)
    high = (_WORD_NUMBERS.get(second) or float(second)) if second else low
    return min(low, high), max(low, high)
