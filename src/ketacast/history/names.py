"""Drugs and strengths from the words in a record: the last resort, so a cautious one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

from ketacast.history.drugs import BRAND_USES, COMBINED_USE, Drug, Product, Strength, drug_table

#: Words after which a drug's name is not a treatment that was taken.
_NOT_TAKEN: Final = re.compile(
    r"\b(?:no|not|never|declin\w+|refus\w+|allerg\w+|avoid\w*|consider\w*|intoleran\w+|"
    r"contraindicat\w+|discuss\w*|instead|switch\w*|versus|vs|level)\b"
)
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_STRENGTH: Final = re.compile(
    _NUMBER + r"\s*(mcg|ug|mg|g)(?![a-z])(?:\s*/\s*" + r"(\d+(?:\.\d+)?)?\s*(ml|hr|h|24\s*hr?))?"
)
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
    lowered = " ".join(text[:_MAX_TEXT].lower().split())
    table = drug_table()
    found: dict[str, tuple[Drug, int]] = {}
    for match in table.pattern.finditer(lowered):
        drug = table.written[match[0]]
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
    if others and antidepressants and "/" not in lowered and " and " not in lowered:
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
    strength = _strength(lowered, end)
    return Product(drug, strength, use, partner, f"{drug.name} {strength}")


def _strength(lowered: str, end: int) -> Strength | None:
    """Read the first strength after the drug's name, else the one before it."""
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
