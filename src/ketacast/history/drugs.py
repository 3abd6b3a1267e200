"""Drugs by code and by name: ingredients, products, minimum doses.

The tables hold facts: ingredient and product codes of RxNorm, ATC codes, lowest
adequate doses with the letters of their sources (``docs/counting-failed-trials.md``).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal, NamedTuple

from ketacast.history.fhir import system_name

Kind = Literal["antidepressant", "augmentation", "ketamine", "other"]

RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC: Final = "http://www.whocc.no/atc"

#: ATC groups of antidepressants: a code that names the group but no drug.
_ATC_GROUP: Final = re.compile(r"N06A[A-Z]?|N06AX")
#: Combinations that have a code of their own in ATC.
_ATC_COMBINED: Final = {
    "N06CA01": "amitriptyline",
    "N06CA02": "melitracen",
    "N06CA03": "fluoxetine",
}
#: Salts that German writes in one word with the drug.
_SALT: Final = r"(?:hydrochlorid|hydrobromid|hemihydrat|mesilat|oxalat)"
_ANTIPSYCHOTIC: Final = "N05A"
#: Names under which a drug is sold for something other than depression.
BRAND_USES: Final = {
    "zyban": "smoking",
    "smoking cessation": "smoking",
    "sarafem": "premenstrual disorder",
    "pmdd": "premenstrual disorder",
    "yentreve": "incontinence",
    "brisdelle": "hot flushes",
    "savella": "fibromyalgia",
    "zyntabac": "smoking",
    "quomem": "smoking",
    "ariclaim": "diabetic neuropathy",
    "qelbree": "ADHD",
    "silenor": "sleep",
    "eldepryl": "Parkinson's disease",
    "zelapar": "Parkinson's disease",
    "topical": "skin",
    "cream": "skin",
}
#: What is combined with the antidepressant in products that are known by their brand.
BRAND_PARTNERS: Final = {
    "symbyax": "olanzapine",
    "triavil": "perphenazine",
    "etrafon": "perphenazine",
    "limbitrol": "chlordiazepoxide",
}
PRODUCT_USES: Final = {
    "smoking": "smoking",
    "pmdd": "premenstrual disorder",
    "parkinson": "Parkinson's disease",
}
#: What naltrexone with bupropion is for.
COMBINED_USE: Final = "weight"
#: Drugs that are common at low dose for sleep or pain: a low dose of them is no
#: treatment of depression, and does not keep an episode open.
LOW_DOSE_USES: Final = frozenset(
    {
        "amitriptyline",
        "clomipramine",
        "desipramine",
        "doxepin",
        "imipramine",
        "mianserin",
        "mirtazapine",
        "nortriptyline",
        "trazodone",
        "trimipramine",
    }
)


class Drug(NamedTuple):
    """One ingredient (or combination that is judged as one drug)."""

    name: str
    kind: Kind
    lenient_mg: float | None
    strict_mg: float | None
    sources: str


class Strength(NamedTuple):
    """Milligrams in a tablet, capsule or patch and day (``unit``) or in a millilitre (``mL``)."""

    low: float
    high: float
    per: str


class Product(NamedTuple):
    """What a code or a name stands for."""

    drug: Drug
    strength: Strength | None
    use: str
    partner: str
    label: str


@dataclass(frozen=True, slots=True)
class DrugTable:
    """All drugs, by RxNorm code, ATC code and name."""

    by_name: dict[str, Drug]
    by_rxcui: dict[str, Product]
    by_atc: dict[str, Drug]
    written: dict[str, Drug]
    pattern: re.Pattern[str]


def _spellings(name: str) -> list[str]:
    """Spell a name as other languages do: sertraline is Sertralin, and sertralina."""
    if not name.endswith("ine"):
        return [name]
    return [name, name[:-1], name[:-1] + "a"]


def _rows(file: str) -> list[dict[str, str]]:
    text = files("ketacast.history").joinpath("data", file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def drug_table() -> DrugTable:
    """Load the tables, once."""
    by_name: dict[str, Drug] = {}
    by_rxcui: dict[str, Product] = {}
    by_atc: dict[str, Drug] = {}
    written: dict[str, Drug] = {}
    for row in _rows("drugs.csv"):
        lenient, strict = row["lenient_mg"], row["strict_mg"]
        drug = Drug(
            row["name"],
            row["kind"],  # type: ignore[arg-type]  # the table holds the four kinds
            float(lenient) if lenient else None,
            float(strict) if strict else None,
            row["sources"],
        )
        by_name[drug.name] = drug
        if row["rxcui"]:
            by_rxcui[row["rxcui"]] = Product(drug, None, "", "", drug.name)
        by_atc.update(dict.fromkeys(filter(None, row["atc"].split("|")), drug))
        written.update(dict.fromkeys(filter(None, row["written_as"].split("|")), drug))
        written.update(dict.fromkeys(_spellings(drug.name.lower()), drug))
    for row in _rows("products.csv"):
        drug = by_name[row["ingredient"]]
        strength = Strength(float(row["mg_low"]), float(row["mg_high"]), row["per"])
        use = PRODUCT_USES.get(row["use"], "")
        by_rxcui[row["rxcui"]] = Product(drug, strength, use, row["partner"], row["rxcui"])
    by_atc.update({code: by_name[name] for code, name in _ATC_COMBINED.items()})
    names = sorted(written, key=lambda name: (-len(name), name))
    pattern = re.compile(
        r"(?<![a-z])(" + "|".join(map(re.escape, names)) + r")" + _SALT + r"?(?![a-z])"
    )
    return DrugTable(by_name, by_rxcui, by_atc, written, pattern)


def product_of_code(system: str, code: str) -> Product | None:
    """Find what a code stands for; None if it is not in the tables."""
    table = drug_table()
    system, code = system_name(system), code.upper()
    if system == RXNORM:
        return table.by_rxcui.get(code)
    if system == ATC:
        drug = table.by_atc.get(code)
        if drug is None and code.startswith(_ANTIPSYCHOTIC) and len(code) == 7:
            drug = Drug("antipsychotic " + code, "augmentation", None, None, "")
        if drug is not None:
            partner = "psycholeptic" if code in _ATC_COMBINED else ""
            return Product(drug, None, COMBINED_USE if drug.kind == "other" else "", partner, code)
    return None


def names_a_group(system: str, code: str) -> bool:
    """Tell whether a code says that it is an antidepressant, but not which one."""
    return system_name(system) == ATC and _ATC_GROUP.fullmatch(code.upper()) is not None
