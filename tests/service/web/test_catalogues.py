"""Every language says everything, with the same values, and patients can read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ketacast
from ketacast.comparison import ASSOCIATION
from ketacast.notices import rare_course, under_way
from ketacast.prediction import Notice
from ketacast_service.errors import ServiceError
from ketacast_service.web import catalogue as words
from ketacast_service.web.catalogue import LANGUAGES, catalogue, choose

WEB = Path(words.__file__).parent
ENGLISH = catalogue("en").words
OTHERS = [code for code in LANGUAGES if code != "en"]
HIGHEST_GRADE = 8.0


def placeholders(text: str) -> list[str]:
    return sorted(set(re.findall(r"\{(\w+)\}", text)))


def notices() -> dict[str, Notice]:
    found = [ASSOCIATION, rare_course(312.4), under_way([{"counts": [20, 30]}, {"counts": [9]}])]
    asked: list[Any] = [
        ((0, 1), 6, "unknown"),
        ((1, 14), 30, "self"),
        (1, 9, "self"),
        ((13, 13), 6, "self"),
    ]
    for trials, infusions, rater in asked:
        found += ketacast.predict(
            failed_trials=trials,
            infusions=infusions,
            rated_by=rater,
        ).warnings
    found += [
        Notice(code, ENGLISH[f"notice.{code}"])
        for code in ("completers_counted", "denominators_mixed")
    ]
    return {notice.message: notice for notice in found}


def test_every_language_has_a_file() -> None:
    assert {path.stem for path in (WEB / "catalogues").glob("*.toml")} == set(LANGUAGES)


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_has_the_same_keys_and_placeholders(code: str) -> None:
    own = catalogue(code).words
    assert set(own) == set(ENGLISH)
    for key, text in own.items():
        assert text.strip(), key
        assert placeholders(text) == placeholders(ENGLISH[key]), key


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_is_translated(code: str) -> None:
    alike = {
        key for key, text in catalogue(code).words.items() if text == ENGLISH[key] and " " in text
    }
    assert alike <= {"footer.software", "form.self_hint", "form.clinician_hint"}


def test_every_key_is_used() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in WEB.rglob("*")
        if path.suffix in (".py", ".html")
    )
    families = re.findall(r"'(\w+\.(?:\w+_)?)' ~", sources) + re.findall(r'"(\w+\.)" ?\+', sources)
    families += ["error.", "notice.", "number.", "answer.rated_", "answer.re"]
    for key in ENGLISH:
        named = f"'{key}'" in sources or f'"{key}"' in sources
        assert named or any(key.startswith(start) for start in families), key


@pytest.mark.parametrize("notice", notices().values(), ids=lambda one: one.message[:40])
def test_limits_are_translated_with_their_numbers(notice: Notice) -> None:
    english = catalogue("en")
    # The English template is the library's own sentence, number by number.
    assert english.fill(ENGLISH[f"notice.{notice.code}"], notice.message) == notice.message
    for code in OTHERS:
        text, stayed_english = catalogue(code).notice(notice)
        assert not stayed_english
        assert "{" not in text
        numbers = re.findall(r"\d+", notice.message)
        assert re.findall(r"\d+", text) == numbers


def test_an_unknown_limit_stays_in_english() -> None:
    assert catalogue("de").notice(Notice("new", "Something new.")) == ("Something new.", True)


def test_numbers_are_written_the_language_s_way() -> None:
    english, german = catalogue("en"), catalogue("de")
    assert (english.number(1805), german.number(1805)) == ("1,805", "1.805")
    assert (english.number(-0.31, 2), german.number(-0.31, 2)) == ("−0.31", "−0,31")
    assert german.number(-0.001, 2) == "0,00"
    assert english.signed(0.042) == "+4"
    assert english.signed(-0.042) == "−4"
    assert english.signed(-0.001) == "0"
    assert german.level(0.8) == "80\u00a0%"
    assert english.level(0.975) == "97.5\u00a0%"
    assert german.figure("0.61 (-0.09 to 1.31)") == "0,61 (−0,09 bis 1,31)"
    assert german.figure("28 of 36") == "28 von 36"


@pytest.mark.parametrize("value", [0.0, 0.005, 0.015, 0.3749, 0.375, 0.995, 1.0])
def test_rates_are_rounded_as_on_the_command_line(value: float) -> None:
    assert catalogue("es").of_100(value) == f"{100 * value:.0f}"


@pytest.mark.parametrize(
    ("asked", "accept", "chosen"),
    [
        ("de", "en", "de"),
        ("fr", "es-MX,es;q=0.9,en;q=0.8", "es"),
        (None, "fr, de-AT;q=0.7, en;q=0.3", "de"),
        (None, "en;q=0.3, de;q=0.7", "de"),
        (None, "de;q=0, en", "en"),
        (None, "fr", "en"),
        (None, "", "en"),
        (None, "de;q=many,es", "es"),
        ("<script>", "x" * 5000, "en"),
    ],
)
def test_a_language_is_chosen(asked: str | None, accept: str, chosen: str) -> None:
    assert choose(asked, accept) == chosen


def test_a_language_without_a_file_is_refused() -> None:
    with pytest.raises(ServiceError, match="one of en, de, es"):
        catalogue("fr")


def syllables(word: str) -> int:
    groups = len(re.findall(r"[aeiouy]+", word.lower()))
    silent = word.lower().endswith("e") and not word.lower().endswith(("le", "ee"))
    return max(1, groups - silent)


def grade(text: str) -> float:
    """Flesch-Kincaid grade (Kincaid et al. 1975)."""
    sentences = max(1, len(re.findall(r"[.!?](?:\s|$)", text)))
    found = re.findall(r"[A-Za-z']+|\d+", text)
    spoken = sum(syllables(word) if word.isalpha() else 2 for word in found)
    return 0.39 * len(found) / sentences + 11.8 * spoken / len(found) - 15.59


@pytest.mark.parametrize("key", sorted(key for key in ENGLISH if key.startswith("words.")))
def test_patients_can_read_each_sentence(key: str) -> None:
    text = re.sub(r"\{\w+\}", "38", ENGLISH[key])
    if key != "words.title":
        assert grade(text) <= HIGHEST_GRADE, f"{key}: grade {grade(text):.1f}"


def test_patients_can_read_the_sentences_together() -> None:
    texts = [re.sub(r"\{\w+\}", "38", ENGLISH[key]) for key in ENGLISH if key.startswith("words.")]
    assert grade(" ".join(texts[1:])) <= 6.0


def test_nothing_advises_to_treat() -> None:
    for text in ENGLISH.values():
        assert not re.search(
            r"\b(should (start|treat|stop)|we recommend|proven|safe)\b", text, re.IGNORECASE
        )
