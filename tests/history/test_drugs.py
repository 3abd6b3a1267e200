"""Drugs by code and name; the tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import ketacast.history
from ketacast.history.concepts import diagnosis, outcome_of_words, stop_reason
from ketacast.history.drugs import Product, Strength, drug_table, names_a_group, product_of_code
from ketacast.history.names import product_of_text
from ketacast.history.near_names import near_drug

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
DATA = Path(ketacast.history.__file__).parent / "data"


def named(text: str) -> str | None:
    found = product_of_text(text)
    return found.drug.name if isinstance(found, Product) else found


@pytest.mark.parametrize(
    ("text", "drug", "strength"),
    [
        ("FLUoxetine 20 MG Oral Capsule", "fluoxetine", (20, "unit")),
        ("Sertraline 100MG", "sertraline", (100, "unit")),
        ("24 HR venlafaxine 37.5 MG Extended Release Oral Capsule", "venlafaxine", (37.5, "unit")),
        ("escitalopram 1 MG/ML Oral Solution", "escitalopram", (1, "mL")),
        ("fluoxetine 20 mg/5 mL solution", "fluoxetine", (4, "mL")),
        ("20 mg citalopram", "citalopram", (20, "unit")),
        ("24 HR selegiline 0.25 MG/HR Transdermal System", "selegiline", (6, "unit")),
        ("selegiline 6 mg/24 hr patch", "selegiline", (6, "unit")),
        ("Prozac", "fluoxetine", None),
        ("dothiepin 75 mg", "dosulepin", (75, "unit")),
        ("liothyronine 25 MCG", "liothyronine", (0.025, "unit")),
        ("Trevilor retard 37,5 mg", "venlafaxine", (37.5, "unit")),
        ("Sertralinhydrochlorid 50 mg", "sertraline", (50, "unit")),
        ("Fluoxétine 20 mg gélule", "fluoxetine", (20, "unit")),
        ("fluoxetine 90 mg capsule", "fluoxetine", (140, "unit")),
        ("OLANZapine-FLUoxetine (SYMBYAX) 6-25 mg capsule", "fluoxetine", (25, "unit")),
        ("amitriptyline-chlordiazepoxide 12.5-5 mg", "amitriptyline", (12.5, "unit")),
        ("perphenazine-amitriptyline 4-10 mg", "amitriptyline", (10, "unit")),
    ],
)
def test_a_name_gives_drug_and_strength(text: str, drug: str, strength: Any) -> None:
    found = product_of_text(text)
    assert isinstance(found, Product)
    assert found.drug.name == drug
    expected = None if strength is None else Strength(strength[0], strength[0], strength[1])
    assert found.strength == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("desvenlafaxine", "desvenlafaxine"),
        ("levomilnacipran", "levomilnacipran"),
        ("escitalopram", "escitalopram"),
        ("trimipramine", "trimipramine"),
        ("Contrave", "naltrexone-bupropion"),
        ("Auvelity", "dextromethorphan-bupropion"),
        ("esketamine", "esketamine"),
        ("amitriptyline 25 MG / perphenazine 2 MG Oral Tablet", "amitriptyline"),
        ("acetaminophen 325 MG", None),
        ("norfluoxetine level", None),
        ("fluoxetine level", "not a treatment"),
        ("allergic to sertraline", "not a treatment"),
        ("sertraline, fluoxetine", "two drugs"),
        ("sertraline and citalopram", "two drugs"),
        ("aripiprazole, quetiapine", "two drugs"),
        ("", None),
    ],
)
def test_which_drug_a_text_names(text: str, expected: str | None) -> None:
    assert named(text) == expected


def test_two_strengths_are_a_range() -> None:
    found = product_of_text("sertraline 50-100 mg")
    assert isinstance(found, Product)
    assert found.strength == Strength(50, 100, "unit")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fluctin", "fluoxetine"),
        ("Cipralex", "escitalopram"),
        ("Seropram", "citalopram"),
        ("Efexor XL", "venlafaxine"),
        ("Remergil SolTab", "mirtazapine"),
        ("Elontril", "bupropion"),
        ("Saroten", "amitriptyline"),
        ("Jatrosom", "tranylcypromine"),
        ("Besitran", "sertraline"),
        ("Fevarin", "fluvoxamine"),
        ("Trittico", "trazodone"),
        ("St John’s wort", "St John's wort"),
        ("Mirtazapin", "mirtazapine"),
        ("venlafaxina", "venlafaxine"),
        ("Bupropión", "bupropion"),
        ("Klomipramin", "clomipramine"),
        ("trazadone", "trazodone"),
        ("buproprion", "bupropion"),
        ("Ketamin", "ketamine"),
    ],
)
def test_brands_and_spellings_of_other_countries(text: str, expected: str) -> None:
    assert named(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Venlafaxene 75 mg", "venlafaxine"),
        ("duloxitine", "duloxetine"),
        ("Mirtazpaine 15", "mirtazapine"),
        ("citalopramm", "citalopram"),
        ("amoxicillin 500 mg", None),
        ("loxapine 10 mg", None),
        ("dapoxetine 30 mg", None),
        ("atomoxetine 40 mg", None),
        ("tramadol", None),
        ("metoclopramide", None),
        ("", None),
    ],
)
def test_names_with_one_slip(text: str, expected: str | None) -> None:
    assert near_drug(text) == expected


@pytest.mark.parametrize(
    ("text", "use"),
    [("Zyban 150 MG", "smoking"), ("doxepin topical cream", "skin"), ("Savella", "fibromyalgia"),
     ("selegiline 5 MG Oral Tablet", "Parkinson's disease"), ("Emsam", ""), ("Wellbutrin", "")],
)  # fmt: skip
def test_a_name_may_tell_the_use(text: str, use: str) -> None:
    found = product_of_text(text)
    assert isinstance(found, Product)
    assert found.use == use


@pytest.mark.parametrize(
    ("system", "code", "drug"),
    [
        (RXNORM, "36437", "sertraline"),
        ("urn:oid:2.16.840.1.113883.6.88", "312941", "sertraline"),
        (ATC, "N06AB06", "sertraline"),
        (ATC, "N06CA01", "amitriptyline"),
        (ATC, "N05AX12", "aripiprazole"),
        (ATC, "N05AX13", "antipsychotic N05AX13"),
        (ATC, "N01AX14", "esketamine"),
        (ATC, "A08AA62", "naltrexone-bupropion"),
        ("2.16.840.1.113883.6.88", "36437", "sertraline"),
        ("https://WWW.nlm.nih.gov/research/umls/RxNorm/", "36437", "sertraline"),
        ("http://fhir.de/CodeSystem/bfarm/atc", "n06ab06", "sertraline"),
        ("urn:oid:2.16.840.1.113883.6.73", "N06AB06", "sertraline"),
    ],
)
def test_codes(system: str, code: str, drug: str) -> None:
    found = product_of_code(system, code)
    assert found is not None
    assert found.drug.name == drug


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (RXNORM, "1"),
        (ATC, "N06AB"),
        (ATC, "C09AA03"),
        ("", "36437"),
        ("http://snomed.info/sct", "36437"),
    ],
)
def test_codes_that_name_no_drug(system: str, code: str) -> None:
    assert product_of_code(system, code) is None


def test_a_group_of_antidepressants() -> None:
    assert names_a_group(ATC, "N06AB")
    assert names_a_group(ATC, "N06A")
    assert not names_a_group(ATC, "N06AB06")
    assert not names_a_group(RXNORM, "N06AB")


def test_the_tables_are_whole() -> None:
    drugs, products = (
        list(csv.DictReader((DATA / name).read_text(encoding="utf-8").splitlines()))
        for name in ("drugs.csv", "products.csv")
    )
    assert len(drugs) >= 80
    assert len(products) == 178
    assert len({row["name"] for row in drugs}) == len(drugs)
    assert len({row["rxcui"] for row in products}) == len(products)
    names = {row["name"] for row in drugs}
    for row in products:
        assert row["ingredient"] in names
        assert 0 < float(row["mg_low"]) <= float(row["mg_high"])
    dosed = [row for row in drugs if row["lenient_mg"]]
    assert len(dosed) == 34
    for row in dosed:
        assert 0 < float(row["lenient_mg"]) <= float(row["strict_mg"])
        assert row["sources"]
        assert row["kind"] == "antidepressant"


def test_every_name_finds_its_own_drug() -> None:
    for written, drug in drug_table().written.items():
        assert named(written) == drug.name, written


@pytest.mark.parametrize(
    ("concept", "expected"),
    [
        ({"text": "Major depressive disorder, recurrent"}, {"depression"}),
        ({"text": "Bipolar disorder, current episode depressed"}, {"bipolar"}),
        ({"text": "Recurrent depression with psychotic features"}, {"psychosis", "depression"}),
        ({"text": "Depression without psychotic features"}, {"depression"}),
        ({"text": "Depression screening"}, set()),
        ({"text": "Respiratory depression"}, set()),
        ({"text": "Family history of bipolar disorder"}, set()),
        ({"text": "Premenstrual dysphoric disorder"}, {"other"}),
        ({"text": "Hypertension"}, set()),
        ({"text": "Dépression récurrente"}, {"depression"}),
        ({"text": "Trastorno depresivo mayor"}, {"depression"}),
        ({"text": "Schmerzen"}, {"other"}),
        ({"coding": [{"system": ICD, "code": "E11.42"}]}, {"other"}),
        ({"coding": [{"system": ICD, "code": "F45.41"}]}, {"other"}),
        ({"coding": [{"system": "urn:oid:2.16.840.1.113883.6.90", "code": "f33.1"}]},
         {"depression"}),
        ({"coding": [{"system": "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "code": "F33.1"}]},
         {"depression"}),
        ({"coding": [{"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "296.33"}]},
         {"depression"}),
        ({"coding": [{"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "296.80"}]},
         {"bipolar"}),
        ({"coding": [{"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "296.34"}]},
         {"depression", "psychosis"}),
        ({"coding": [{"system": ICD, "code": "F3181"}]}, {"bipolar"}),
        ({"coding": [{"system": ICD, "code": "F33.3"}]}, {"depression", "psychosis"}),
        ({"coding": [{"system": ICD, "code": "F32.81"}]}, {"other"}),
        ({"coding": [{"system": "http://snomed.info/sct", "code": "370143000"}]}, {"depression"}),
        (None, set()),
    ],
)  # fmt: skip
def test_diagnoses(concept: Any, expected: set[str]) -> None:
    assert diagnosis(concept) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Ineffective", "failure"),
        ("no longer effective", "failure"),
        ("lack of response", "failure"),
        ("patient didn't respond", "failure"),
        ("partial response", "partial"),
        ("not well tolerated", "intolerance"),
        ("nausea", "intolerance"),
        ("in remission", "success"),
        ("depression resolved", "success"),
        ("moved away", ""),
        ("Lack of drug action", "failure"),
        ("Pregnancy", "unrelated"),
        ("insurance does not cover it", "unrelated"),
        ("Unverträglichkeit", "intolerance"),
        ("", ""),
    ],
)
def test_outcomes_in_words(words: str, expected: str) -> None:
    assert outcome_of_words(words) == expected


def test_codes_of_stopping() -> None:
    code = {"coding": [{"code": "sintol", "display": "Suspected intolerance"}]}
    assert stop_reason([{"text": "moved"}, code]) == "intolerance"
    assert stop_reason([None, "x", {}]) == ""
