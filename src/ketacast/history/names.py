"""Drugs and strengths from the words in a record: the last resort, so a cautious one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

from ketacast.history.drugs import (
    BRAND_PARTNERS,
    BRAND_USES,
    COMBINED_USE,
    Drug,
    Product,
    Strength,
    drug_table,
)
from ketacast.history.plain_words import folded

#: Words after which a drug's name is not a treatment that was taken.
_NOT_TAKEN: Final = re.compile(
    r"\b(?:no|not|never|declin\w+|refus\w+|allerg\w+|avoid\w*|consider\w*|intoleran\w+|"
    r"contraindicat\w+|discuss\w*|instead|switch\w*|versus|vs|level)\b"
)
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_STRENGTH: Final = re.compile(
    _NUMBER + r"\s*(mcg|ug|mg|g)(?![a-z])(?:\s*/\s*" + r"(\d+(?:\.\d+)?)?\s*(ml|hr|h|24\s*hr?))?"
)
#: Strengths of a combination, in the order of its names: "6-25 mg".
_PAIR: Final = re.compile(_NUMBER + r"(?:\s*mg)?\s*[-/]\s*" + _NUMBER + r"\s*mg(?![a-z]|\s*/)")
_COMMA: Final = re.compile(r"(?<=\d),(?=\d{1,2}(?!\d))")
_NAME_FOLLOWS: Final = re.compile(r"(?: hcl| hydrochloride)?\s*[-/]\s*[a-z]")
#: A capsule of 90 mg is taken once a week in place of 20 mg a day.
_WEEKLY_FLUOXETINE: Final = {90.0: 140.0}
_MILLIGRAMS: Final = {"mcg": 0.001, "ug": 0.001, "mg": 1.0, "g": 1000.0}
_MAX_TEXT: Final = 400

Ambiguous = Literal["two drugs", "not a treatment"]


@lru_cache(maxsize=4096)
def product_of_text(text: str) -> Product | Ambiguous | None:
    """Find the one drug that a text names.

    Parameters
    ----------
    text : str
        A display or free text, such as ``FLUoxetine 20 MG Oral Capsule``.

    Returns
    -------
    Product, str or None
        The drug with its strength if the text has one; why the text cannot be used;
        or None if it names none of the drugs.
    """
    lowered = _COMMA.sub(".", folded(text[:_MAX_TEXT]))
    table = drug_table()
    found: dict[str, tuple[Drug, int]] = {}
    for match in table.pattern.finditer(lowered):
        drug = table.written[match[1]]
        found.setdefault(drug.name, (drug, match.end()))
    if not found:
        return None
    if _NOT_TAKEN.search(lowered):
        return "not a treatment"
    return _one_product(lowered, found)


def _one_product(lowered: str, found: dict[str, tuple[Drug, int]]) -> Product | Ambiguous:
    table = drug_table()
    if "naltrexone" in lowered and "bupropion" in found:
        drug = table.by_name["naltrexone-bupropion"]
        return Product(drug, None, COMBINED_USE, "", drug.name)
    if "dextromethorphan" in lowered and "bupropion" in found:
        drug = table.by_name["dextromethorphan-bupropion"]
        return Product(drug, None, "", "", drug.name)
    antidepressants = [name for name, (drug, _) in found.items() if drug.kind == "antidepressant"]
    others = [name for name in found if name not in antidepressants]
    if len(antidepressants) > 1 or (not antidepressants and len(others) > 1):
        return "two drugs"
    chosen = (antidepressants or others)[0]
    if others and antidepressants and not _is_combined(lowered, others):
        return "two drugs"
    drug, end = found[chosen]
    use = next((use for word, use in BRAND_USES.items() if word in lowered), "")
    if drug.name == "selegiline" and not re.search(
        r"patch|transdermal|/\s*(?:24\s*)?hr?|emsam", lowered
    ):
        use = "Parkinson's disease"
    if drug.kind == "other":
        use = COMBINED_USE
    partner = others[0] if antidepressants and others else ""
    partner = partner or next((BRAND_PARTNERS[b] for b in BRAND_PARTNERS if b in lowered), "")
    strength = _strength(lowered, end, is_combined=bool(partner) or lowered.count("-") > 1)
    if drug.name == "fluoxetine" and strength is not None and strength.low in _WEEKLY_FLUOXETINE:
        weekly = _WEEKLY_FLUOXETINE[strength.low]
        strength = Strength(weekly, weekly, strength.per)
    return Product(drug, strength, use, partner, f"{drug.name} {strength}")


def _is_combined(lowered: str, others: list[str]) -> bool:
    """Tell whether two names are of one product: "a / b", "a and b", "a-b"."""
    return (
        "/" in lowered
        or " and " in lowered
        or any(f"{name}-" in lowered or f"-{name}" in lowered for name in others)
    )


def _strength(lowered: str, end: int, *, is_combined: bool) -> Strength | None:
    """Read the first strength after the drug's name, else the one before it."""
    pair = _PAIR.search(lowered, end)
    if pair is not None and _NAME_FOLLOWS.match(lowered, end):
        return Strength(float(pair[1]), float(pair[1]), "unit")
    if pair is not None and not is_combined:
        ends = sorted((float(pair[1]), float(pair[2])))
        return Strength(ends[0], ends[1], "unit")
    match = _STRENGTH.search(lowered, end) or _STRENGTH.search(lowered)
    if match is None:
        return None
    amount = float(match[1]) * _MILLIGRAMS[match[2]]
    over, unit = match[3], match[4]
    if unit is None:
        return Strength(amount, amount, "unit")
    if unit == "ml":
        amount /= float(over or 1) or 1
        return Strength(amount, amount, "mL")
    hours = 24.0 if unit.startswith("24") else float(over or 1) or 1
    return Strength(24 * amount / hours, 24 * amount / hours, "unit")
