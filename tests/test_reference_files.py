"""Every file of reference numbers is there, and a test reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
REFERENCE = TESTS / "reference"
#: Files made with metafor, lme4, clubSandwich and bayesmeta, by what they hold. A file
#: may be added, none may go.
EXPECTED = {
    "anova": 2,
    "awkward": 15,
    "backtransform": 2,
    "bayesmeta": 3,
    "blup": 4,
    "bmr": 2,
    "confint": 5,
    "escalc": 6,
    "glmm": 4,
    "influence": 4,
    "leave1out": 4,
    "permutest": 3,
    "predict": 6,
    "profile": 3,
    "rma": 16,
    "robust": 2,
    "smallstudy": 4,
}
FILES = sorted(path.stem for path in REFERENCE.glob("*.json"))


def test_no_reference_file_is_lost() -> None:
    found = dict.fromkeys(EXPECTED, 0)
    for name in FILES:
        found[name.split("_")[0]] += 1
    assert found == EXPECTED


@pytest.mark.parametrize("name", FILES)
def test_every_reference_file_is_read_by_a_test(name: str) -> None:
    sources = [
        path.read_text(encoding="utf-8")
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__)
    ]
    parts = name.split("_")
    globs = ["_".join(parts[:n]) + "_*" for n in range(1, len(parts))]
    wanted = [name, *globs, *(f'"{glob[:-2]}"' for glob in globs)]
    assert any(one in source for source in sources for one in wanted), name


@pytest.mark.parametrize("name", FILES)
def test_every_reference_file_tells_its_call(name: str) -> None:
    content = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    assert {"case", "feature", "source", "data", "call", "expected"} <= set(content)
