"""A daily dose from the words of an instruction: only where they are plain."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from ketacast.history.drugs import Strength
from ketacast.history.plain_words import with_digits
from ketacast.history.timing_words import frequencies, times_in_words

Range = tuple[float, float]

#: Clauses that say nothing on the dose that is taken.
_BESIDE: Final = re.compile(
    r"(?:\(?\b(?:max(?:imum)?|nte|not to exceed|do not (?:exceed|take more)|don't take more)|"
    r"\b(?:do not|don't|never) (?:crush|chew|cut|split|break|stop|skip|drink|drive|open|miss|"
    r"discontinue)|"
    r"\bstarting\b|\buntil (?:discontinued|further notice|gone|finished)|"
    r"\bif (?:you |a )?(?:miss|dose)|# ?\d+|\bdisp(?:ense)?\b|\bqty\b|\brefills?\b)[^.;]*"
)
#: Words after which the dose is not one dose any more, or not one that was taken.
_UNCLEAR: Final = re.compile(
    r"increas|decreas|titrat|taper|wean|until|reduc|adjust|alternat|half|hold|stop|"
    r"discontinu|\bnot\b|n't\b|or as|schedule|steiger|erhoh|reduzier"
)
_AS_NEEDED: Final = re.compile(
    r"\bprn\b|as needed|if needed|when required|as required|if required|when needed|"
    r"bei bedarf|si besoin|si (?:es )?necesario|al bisogno|zo nodig|\bup to\b"
)
_THEN: Final = re.compile(
    r"[,;.]?\s*(?:\b(?:and )?then\b|\bfollowed by\b|\bthereafter\b)"
    r"(?: (?:increase|decrease|go up|go down|titrate)(?: dose)?(?: up| down)? to)?"
)
_LASTING: Final = re.compile(
    r"\b(?:for|x|fur|pendant) ?(\d+(?:\.\d+)?)[ -]?(day|week|month|tag|woche)\w*"
)
_DAYS_OF: Final = {"day": 1.0, "week": 7.0, "month": 30.0, "tag": 1.0, "woche": 7.0}
_NUMBER: Final = r"\d+(?:\.\d+)?"
_RANGE: Final = rf"(?<![\d.])({_NUMBER})(?: ?(?:-|to|or|bis|a) ?({_NUMBER}))? ?"
_DAILY_MG: Final = re.compile(
    rf"({_NUMBER}) ?mg ?(?:/|per|a) ?(?:day\b|d\b|24 ?h\w*)|"
    rf"(?:total daily dose|daily dose|total)[ :=of]* ({_NUMBER}) ?mg (?:/ ?day|daily|per day|a day)"
)
_MG: Final = re.compile(_RANGE + r"(mcg|ug|mg|g)\b(?! ?/ ?(?:m|\d|h))")
_MG_IN: Final = {"mcg": 0.001, "ug": 0.001, "mg": 1.0, "g": 1000.0}
_ML: Final = re.compile(_RANGE + r"ml\b")
_UNIT_WORDS: Final = (
    r"(?:film|hart|weich|retard)?"
    r"(?:tab|cap|pill|patch|kaps|kps|tbl|compr|cpr|gelule|cps|stuck|stk|pflaster|odt)"
)
_COUNT: Final = re.compile(
    _RANGE + rf"(?:(?:\d+(?:\.\d+)? ?mg |of the |x )?{_UNIT_WORDS}|x ?(?=\d+(?:\.\d+)? ?mg\b))"
)
#: "1 OD", "take two daily": a number alone means tablets, unless it is "2 times".
_BARE: Final = re.compile(
    rf"^(?:please )?(?:take |give |use |nehmen sie |prendre |tomar )?{_RANGE}"
    r"(?!x\b|mg|ml|g\b|times|mal|maal|fois|veces|vezes|volte|[./-])"
    r"(?=to be|once|twice|daily|every|each|at |in the|by mouth|per |po\b|orally|od\b|bd\b|bid\b|"
    r"tds\b|tid\b|qd\b|q[ahp]|mane|nocte|(?<= )\d+ ?(?:x|times)|night|morning|capsul|a day)"
)
#: Morning, noon, evening and night, as German prescriptions give them.
_SCHEME: Final = re.compile(
    rf"(?<![\d./-])({_NUMBER}) ?- ?({_NUMBER}) ?- ?({_NUMBER})(?: ?- ?({_NUMBER}))?(?![\d./-])"
)
#: "of 50 mg", "x 50 mg", "50 mg tablets": the strength of one unit.
_OF_ONE_UNIT: Final = re.compile(r"\bof \d|\bx ?\d|\d ?mg " + _UNIT_WORDS)
_JOINED: Final = re.compile(r"\band\b|\bund\b|\bet\b|\by\b|\bplus\b|[,;&+]")
_MOST_BARE: Final = 10.0
_CLOSE: Final = 0.02


class _Said(NamedTuple):
    """Amounts that a part of an instruction names."""

    units: frozenset[Range]
    mg: frozenset[Range]
    ml: frozenset[Range]

    @property
    def any(self) -> bool:
        return bool(self.units or self.mg or self.ml)


@lru_cache(maxsize=4096)
def daily_amount(words: str, strength: Strength | None) -> Range | None:
    """Read milligrams a day, proven and possible.

    Returns
    -------
    (float, float) or None
        None if the words are not plain enough: conditions, changes without a number.

    Examples
    --------
    >>> daily_amount("Take 1 tablet (50 mg total) by mouth twice a day", None)
    (100.0, 100.0)
    """
    plain = _BESIDE.sub(" ", with_digits(words[:300])).strip()
    steps = [part for part in _THEN.split(plain) if part.strip()]
    found: list[Range] = []
    for step in steps:
        each = _of_step(step, strength, plain)
        if each is None:
            return None
        found.append(each)
    if not found:
        return None
    low = min(low for low, _ in found)
    return (0.0 if _AS_NEEDED.search(plain) else low), max(high for _, high in found)


@lru_cache(maxsize=4096)
def times_said(words: str) -> Range | None:
    """Read how many times a day the one dose of an instruction is taken; None if unclear."""
    plain = _BESIDE.sub(" ", with_digits(words[:300]))
    if _UNCLEAR.search(plain) or _THEN.search(plain):
        return None
    times = times_in_words(plain)
    if times is None:
        return None
    return (0.0 if _AS_NEEDED.search(plain) else times[0]), times[1]


@lru_cache(maxsize=4096)
def worded_steps(words: str) -> tuple[tuple[str, float | None], ...]:
    """Take apart the steps of a titration, each with the days that it lasts, if it says so.

    Nothing is given if there are no steps, or one of them does not say how often.

    Examples
    --------
    >>> worded_steps("Take 1 tablet daily for 1 week, then 2 tablets daily")
    (('take 1 tablet daily', 7.0), ('2 tablets daily', None))
    """
    if "then" not in words.lower() and "followed by" not in words.lower():
        return ()
    plain = _BESIDE.sub(" ", with_digits(words[:300])).strip()
    found: list[tuple[str, float | None]] = []
    for part in _THEN.split(plain):
        if not part.strip():
            continue
        lasting = _LASTING.search(part)
        days = None
        if lasting is not None:
            days = float(lasting[1]) * _DAYS_OF[lasting[2]]
            part = part[: lasting.start()] + part[lasting.end() :]  # noqa: PLW2901
        if _UNCLEAR.search(part) or times_in_words(part) is None:
            return ()
        found.append((part.strip(" ,;."), days))
    return tuple(found)


def _of_step(step: str, strength: Strength | None, whole: str) -> Range | None:
    """Daily dose of one step; how often may be said once for all."""
    if _UNCLEAR.search(step):
        return None
    scheme = _of_scheme(step, strength)
    if scheme is not None:
        return scheme
    daily = {float(match[1] or match[2]) for match in _DAILY_MG.finditer(step)}
    rest = _DAILY_MG.sub(" ", step)
    found = _of_doses(rest, strength, whole)
    if not daily:
        return found
    total = (min(daily), max(daily))
    if found is None or _alike(found, total):
        return total
    # "2 tablets (100 mg/day)" twice a day contradicts itself; one of both is true.
    return min(total[0], found[0]), max(total[1], found[1])


def _of_scheme(step: str, strength: Strength | None) -> Range | None:
    schemes = {match.groups() for match in _SCHEME.finditer(step)}
    if len(schemes) != 1 or strength is None or strength.per != "unit":
        return None
    units = sum(float(part) for part in schemes.pop() if part)
    if not 0 < units <= _MOST_BARE:
        return None
    return strength.low * units, strength.high * units


def _of_doses(step: str, strength: Strength | None, whole: str) -> Range | None:
    parts = [part for part in _JOINED.split(step) if part.strip()]
    dosed = [(part, _said(part)) for part in parts]
    several = [(part, said) for part, said in dosed if said.any and _has_moment(part)]
    if len(several) > 1 and len(several) == sum(said.any for _, said in dosed):
        doses = [_dose(part, said, strength) for part, said in several]
        known = [dose for dose in doses if dose is not None]
        if len(known) == len(doses) and not _repeats_itself(step):
            return sum(low for low, _ in known), sum(high for _, high in known)
        return None
    said = _said(step)
    times = times_in_words(step) or times_in_words(whole)
    each = _dose(step, said, strength)
    if times is None or each is None:
        return None
    # "150 mg divided twice daily" is 150 mg a day, or so it may be meant.
    fewest = min(1.0, times[0]) if "divided" in step else times[0]
    return each[0] * fewest, each[1] * times[1]


def _has_moment(part: str) -> bool:
    return any(one.moment for one in frequencies(part))


def _repeats_itself(step: str) -> bool:
    """Tell whether doses at parts of the day are also said to be taken several times."""
    return any(not one.moment and one.times != 1.0 for one in frequencies(step))


def _said(part: str) -> _Said:
    units = {_span(match[1], match[2]) for match in _COUNT.finditer(part)}
    if not units and "mg" not in part:
        bare = _BARE.search(part)
        if bare is not None:
            span = _span(bare[1], bare[2])
            units = {span} if 0 < span[1] <= _MOST_BARE else set()
    mg = set()
    for match in _MG.finditer(part):
        low, high = _span(match[1], match[2])
        mg.add((low * _MG_IN[match[3]], high * _MG_IN[match[3]]))
    ml = {_span(match[1], match[2]) for match in _ML.finditer(part)}
    return _Said(frozenset(units), frozenset(mg), frozenset(ml))


def _dose(part: str, said: _Said, strength: Strength | None) -> Range | None:
    """Milligrams each time, from units, milligrams, or both."""
    if len(said.units) > 1:
        return None
    units = next(iter(said.units), None)
    amounts = sorted(said.mg)
    per_unit = strength if strength is not None and strength.per == "unit" else None
    if units is not None:
        product = None if per_unit is None else (per_unit.low * units[0], per_unit.high * units[1])
        return _of_units(part, units, amounts, product)
    if len(amounts) == 1:
        return amounts[0]
    if not amounts and len(said.ml) == 1 and strength is not None and strength.per == "mL":
        volume = next(iter(said.ml))
        return strength.low * volume[0], strength.high * volume[1]
    return None


def _of_units(part: str, units: Range, amounts: list[Range], product: Range | None) -> Range | None:
    """Tell whether milligrams beside a number of units are of one unit or of all.

    "2 tablets of 50 mg" and "2 tablets (100 mg)" look alike: the strength of the
    product tells, else the words; where neither does, both stay possible.
    """
    if not amounts or (product is not None and any(_alike(one, product) for one in amounts)):
        return product
    if len(amounts) > 1:
        is_sum = len(amounts) == 2 and _alike(_times(amounts[0], units), amounts[1])
        return amounts[1] if is_sum else None
    amount = amounts[0]
    all_units = _times(amount, units)
    if product is not None and _alike(all_units, product):
        own = product
    elif units == (1.0, 1.0) or "total" in part or "=" in part:
        own = amount
    elif _OF_ONE_UNIT.search(part):
        own = all_units
    else:
        own = (min(amount[0], all_units[0]), max(amount[1], all_units[1]))
    if product is None:
        return own
    # The words contradict the product: either may be the slip.
    return min(own[0], product[0]), max(own[1], product[1])


def _times(amount: Range, units: Range) -> Range:
    return amount[0] * units[0], amount[1] * units[1]


def _alike(one: Range, other: Range) -> bool:
    return all(abs(a - b) <= _CLOSE * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _span(first: str, second: str | None) -> Range:
    low = float(first)
    high = float(second) if second else low
    return min(low, high), max(low, high)
