"""Instructions as hospitals, surgeries and pharmacies write them, and the dose they mean."""

from __future__ import annotations

import pytest

from ketacast.history.dosage_text import daily_amount, times_said
from ketacast.history.drugs import Strength
from ketacast.history.plain_words import folded, with_digits
from ketacast.history.timing_words import times_in_words

TABLET = Strength(50.0, 50.0, "unit")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("1 tab PO QD", (50, 50)),
        ("1 tab po qhs", (50, 50)),
        ("i tab po qam", (50, 50)),
        ("ii tabs po qhs", (100, 100)),
        ("Take one (1) tablet by mouth every day", (50, 50)),
        ("Take 1.5 tablets by mouth daily", (75, 75)),
        ("Take 1 1/2 tablets by mouth daily", (75, 75)),
        ("Take one and a half tablets daily", (75, 75)),
        ("Take 1½ tablets daily", (75, 75)),
        ("Take half a tablet daily", (25, 25)),
        ("take 1/2 tablet (25 mg) daily", (25, 25)),
        ("one-half tablet daily", (25, 25)),
        ("50mg OD", (50, 50)),
        ("50 mg mane", (50, 50)),
        ("50 mg nocte", (50, 50)),
        ("two tablets twice daily", (200, 200)),
        ("1 tab twice a day", (100, 100)),
        ("Take 3 tablets (150 mg) daily", (150, 150)),
        ("Take 2 tablets (100 mg total) by mouth daily.", (100, 100)),
        ("1 tablet every morning and 1 tablet at bedtime", (100, 100)),
        ("1 tablet every morning and 2 tablets at bedtime", (150, 150)),
        ("Take 1 tablet (50 mg) in the morning and 2 tablets (100 mg) at night", (150, 150)),
        ("50 mg in the morning, 100 mg at night", (150, 150)),
        ("TAKE 1 TABLET BY MOUTH EVERY DAY", (50, 50)),
        ("50 mg po daily x 90 days", (50, 50)),
        ("Take 2 tabs in the morning", (100, 100)),
        ("1 Tablette morgens", (50, 50)),
        ("1 comprimé par jour", (50, 50)),
        ("1 comprimido al día", (50, 50)),
        ("Take 1 tablet (50 mg) by mouth once daily. Max 200 mg/day", (50, 50)),
        ("Take 1 tab daily. Do not take more than 4 tablets", (50, 50)),
        ("1-0-1", (100, 100)),
        ("½-0-0", (25, 25)),
        ("1-0-0-0", (50, 50)),
        ("0-0-1 z. N.", (50, 50)),
        ("1 tablet TID", (150, 150)),
        ("Take 100 mg by mouth daily", (100, 100)),
        ("1 tab three times a week", (150 / 7, 150 / 7)),
        ("Take 1 tablet by mouth 2 (two) times daily.", (100, 100)),
        ("Take 1 capsule (50 mg total) by mouth 2 (two) times daily", (100, 100)),
        ("Take 1 tablet by mouth 3 times a day", (150, 150)),
        ("1 OD", (50, 50)),
        ("1 BD", (100, 100)),
        ("One nocte", (50, 50)),
        ("one twice a day", (100, 100)),
        ("take TWO daily", (100, 100)),
        ("One To Be Taken Each Day", (50, 50)),
        ("ONE TO BE TAKEN AT NIGHT", (50, 50)),
        ("Take ONE each morning", (50, 50)),
        ("TWO AT NIGHT", (100, 100)),
        ("one three times a day", (150, 150)),
        ("100 mg = 2 tab(s), Oral, Daily, # 60 tab(s), 3 Refill(s)", (100, 100)),
        ("50 mg = 1 tab(s), Oral, BID", (100, 100)),
        ("2 x 50 mg daily", (100, 100)),
        ("Take 2 tablets of 50 mg daily", (100, 100)),
        ("Take two 50mg tablets daily", (100, 100)),
        ("1-2 tablets daily", (50, 100)),
        ("1 to 2 tablets at bedtime as needed", (0, 100)),
        ("Take 1 tablet daily as needed", (0, 50)),
        (
            "Take 0.5 tablets (25 mg total) by mouth daily for 7 days, THEN 1 tablet daily.",
            (25, 50),
        ),
        ("Take 1 tablet daily for 1 week, then increase to 2 tablets daily", (50, 100)),
        ("take 1 tablet for 7 days then 2 tablets daily", (50, 100)),
        ("increase to 2 tablets daily after 1 week", None),
        ("as directed", None),
        ("", None),
        ("Take 1 tablet daily. Do not crush or chew.", (50, 50)),
        ("Swallow 1 capsule whole every morning with food", (50, 50)),
        ("1 tablet every other day", (25, 25)),
        ("Take 1 tablet every 12 hours", (100, 100)),
        ("1 cap q24h", (50, 50)),
        ("1 tab b.i.d.", (100, 100)),
        ("2x täglich 1 Tablette", (100, 100)),
        ("1 x tgl. 1", None),
        ("Take 1 tablet by mouth once a week", (50 / 7, 50 / 7)),
        ("1 tablet every week", (50 / 7, 50 / 7)),
        ("take 1 tablet by mouth 1 time each day", (50, 50)),
        ("Take 1 tablet by mouth daily with 200 mg ibuprofen", (50, 200)),
        ("Take 1 tablet (50 mg) twice daily (100 mg/day)", (100, 100)),
        ("37,5 mg täglich", (37.5, 37.5)),
        ("Take 1 tablet by mouth in the morning and at bedtime", (100, 100)),
        ("Take 1 tablet by mouth daily in the morning.", (50, 50)),
        ("Take 1 tablet by mouth every evening", (50, 50)),
        ("Take 1-2 at night for neuropathic pain", (50, 100)),
        ("Take 2 by mouth every day", (100, 100)),
        ("1 capsule le matin", (50, 50)),
        ("0.5-0-0", (25, 25)),
        ("Take 1 Tablet By Mouth Every Day At Bedtime", (50, 50)),
        ("TK 1 T PO QD", None),
        ("Take one tablet by mouth at bedtime. May increase to two tablets after one week.", None),
        ("2026-01-05", None),
        ("1-0-1 Tabletten", (100, 100)),
        ("Take 4 tablets daily", (200, 200)),
        ("1 tablet 2-3 times daily", (100, 150)),
        ("Take 1 tablet (50 mg total) daily. Starting 1/1/2026, Until Discontinued", (50, 50)),
        ("1 tablet, Oral, Daily, Starting Mon 10/5/2020, Disp-90 tablet, R-3", (50, 50)),
        ("Take 1 tablet every evening at bedtime", (50, 50)),
        ("1 comprimé le soir au coucher", (50, 50)),
        ("1 tablet in the evening, at bedtime", (50, 100)),
        ("Take 1 tablet in AM and 1 tablet in PM", (100, 100)),
        ("Take 1 tablet at 8 am and 8 pm", (100, 100)),
        ("100 mg divided twice daily", (100, 200)),
        ("Take up to 2 tablets at night", (0, 100)),
    ],
)
def test_instructions_for_a_tablet_of_50_mg(
    words: str, expected: tuple[float, float] | None
) -> None:
    found = daily_amount(words, TABLET)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Without the strength of the product, "2 tablets (100 mg)" may be 100 or 200 mg.
        ("Take 2 tablets (100 mg) daily", (100, 200)),
        ("Take 2 tablets (100 mg total) daily", (100, 100)),
        ("100 mg = 2 tab(s), Oral, Daily", (100, 100)),
        ("Take 2 tablets daily", None),
        ("1-0-1", None),
        ("50 mg twice daily", (100, 100)),
    ],
)
def test_instructions_without_a_strength(words: str, expected: tuple[float, float] | None) -> None:
    assert daily_amount(words, None) == expected


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ("Take ONE (1) tablet", "take 1 tablet"),
        ("2 (two) times", "2 times"),
        ("1½ tablets", "1.5 tablets"),
        ("one and a half tablets", "1.5 tablets"),
        ("half a tablet", "0.5 tablet"),
        ("37,5 mg", "37.5 mg"),
        ("1,000 mg", "1,000 mg"),
        ("ii tabs", "2 tabs"),
    ],
)
def test_numbers_become_digits(words: str, plain: str) -> None:
    assert with_digits(words) == plain


def test_accents_are_folded() -> None:
    assert folded("  Gélule TÄGLICH ") == "gelule taglich"


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("twice daily", (2, 2)),
        ("2-3 times a day", (2, 3)),
        ("q12h", (2, 2)),
        ("every 3 days", (1 / 3, 1 / 3)),
        ("every 2 weeks", (1 / 14, 1 / 14)),
        ("3 times a week", (3 / 7, 3 / 7)),
        ("monthly", (1 / 30.4375, 1 / 30.4375)),
        ("every 1 week", (1 / 7, 1 / 7)),
        ("every morning and at bedtime", (2, 2)),
        ("daily in the morning and at night", (1, 2)),
        ("with food", None),
    ],
)
def test_how_often(words: str, times: tuple[float, float] | None) -> None:
    found = times_in_words(words)
    assert found == (None if times is None else pytest.approx(times))


def test_how_often_is_not_read_from_changes() -> None:
    assert times_said("Take twice daily, then once daily") is None
    assert times_said("Increase to twice daily") is None
    assert times_said("Take twice daily as needed") == (0, 2)
    assert times_said("with food") is None
