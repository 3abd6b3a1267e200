"""What is typed is read, or refused with how to mend it."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast_service.errors import ProblemError
from ketacast_service.web.catalogue import LANGUAGES, catalogue
from ketacast_service.web.forms import parse_form
from ketacast_service.web.inputs import Bounds, read_inputs
from ketacast_service.web.medications import count_list, rows_of

BOUNDS = Bounds((0, 20), (1, 30))
GOOD = {"failed_trials": "6", "infusions": "6", "rated_by": "self"}
TODAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    ("typed", "trials"),
    [
        ("6", (6, 6)), ("0", (0, 0)), ("4-8", (4, 8)), (" 4 – 8 ", (4, 8)), ("4 to 8", (4, 8)),
        ("4 bis 8", (4, 8)), ("4 a 8", (4, 8)), ("4..8", (4, 8)), ("5-5", (5, 5)), ("007", (7, 7)),
    ],
)  # fmt: skip
def test_trials_are_a_number_or_a_range(typed: str, trials: tuple[int, int]) -> None:
    asked = read_inputs({**GOOD, "failed_trials": typed}, BOUNDS)
    assert asked.complete
    assert asked.trials == trials


@pytest.mark.parametrize(
    ("field", "typed", "fault"),
    [
        ("failed_trials", "", "trials_missing"),
        ("failed_trials", "six", "trials_form"),
        ("failed_trials", "6.5", "trials_form"),
        ("failed_trials", "-1", "trials_form"),
        ("failed_trials", "٣", "trials_form"),
        ("failed_trials", "99999", "trials_form"),
        ("failed_trials", "21", "trials_bounds"),
        ("failed_trials", "4-21", "trials_bounds"),
        ("failed_trials", "8-4", "trials_order"),
        ("infusions", "", "infusions_missing"),
        ("infusions", "6.5", "infusions_form"),
        ("infusions", "1e1", "infusions_form"),
        ("infusions", "0", "infusions_bounds"),
        ("infusions", "31", "infusions_bounds"),
        ("rated_by", "", "rater_missing"),
        ("rated_by", "nurse", "rater_missing"),
        ("so_far", "NX", "so_far_letter"),
        ("so_far", "NNNNNN", "so_far_long"),
        ("compare", "x", "compare_form"),
        ("compare", "31", "compare_bounds"),
        ("compare", "6", "compare_same"),
        ("clinic", "clinic.json", "clinic_button"),
    ],
)
def test_what_cannot_be_used_is_a_fault_of_its_field(field: str, typed: str, fault: str) -> None:
    asked = read_inputs({**GOOD, field: typed}, BOUNDS)
    assert {name: one.key for name, one in asked.faults.items()} == {field: fault}
    for code in LANGUAGES:
        said = catalogue(code)(f"error.{fault}", **asked.faults[field].values)
        assert "{" not in said


def test_arabic_digits_are_no_digits_of_ours() -> None:
    assert not read_inputs({**GOOD, "infusions": "٦"}, BOUNDS).complete


def test_nobody_is_preset_as_rater_and_six_infusions_are() -> None:
    asked = read_inputs({}, BOUNDS)
    assert asked.typed["infusions"] == "6"
    assert set(asked.faults) == {"failed_trials", "rated_by"}
    assert not asked.begun
    assert not asked.wrong()


def test_plans_are_compared_before_a_course_only() -> None:
    asked = read_inputs({**GOOD, "so_far": "NN", "compare": "8"}, BOUNDS)
    assert asked.faults["compare"].key == "compare_course"


def test_statuses_forgive_spaces_and_small_letters() -> None:
    assert read_inputs({**GOOD, "so_far": " n n r? "}, BOUNDS).so_far == "NNR?"


def test_a_permalink_carries_inputs_only() -> None:
    given = {**GOOD, "name": "A. B.", "medications": "sertraline", "lang": "de", "clinic": "x"}
    assert read_inputs(given, BOUNDS).link() == GOOD


@pytest.mark.parametrize("text", ["[]", "{}", "{", "7", '{"kind": ""}', "[" * 100_000])
def test_a_file_that_is_no_profile_is_refused(text: str) -> None:
    asked = read_inputs({**GOOD, "clinic": text}, BOUNDS, posted=True)
    assert asked.faults["clinic"].key == "clinic_form"


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("sertraline, 150, 8, failed", ("sertraline", "150", "8", "failed")),
        ("sertraline; 150 mg; 8 weeks", ("sertraline", "150", "8", "")),
        ("Sertralin\t150\t8 Wochen\tversagt", ("Sertralin", "150", "8", "failed")),
        ("sertralina, 150, 8 semanas, sin respuesta", ("sertralina", "150", "8", "failed")),
        ("- venlafaxine 225 mg 10 weeks", ("venlafaxine", "225", "10", "")),
        ("mirtazapine 30mg", ("mirtazapine", "30", "", "")),
        ("escitalopram", ("escitalopram", "", "", "")),
        ("duloxetine, 60, 7.5", ("duloxetine", "60", "7.5", "")),
    ],
)
def test_a_line_of_a_list_is_taken_apart(line: str, row: tuple[str, ...]) -> None:
    (found,) = rows_of(f"\n{line}\n\n")
    assert found["id"] == "line 2"
    cells = tuple(found.get(name, "") for name in ("drug", "dose_mg", "weeks", "outcome"))
    assert cells == row


def test_a_list_is_counted_as_of_the_current_episode() -> None:
    text = "sertraline, 150, 8, failed\nvenlafaxine, 225, 10\nmirtazapine, 15, 3\nlithium, 900, 6"
    counted = count_list(text, TODAY)
    assert (counted.low, counted.high) == (2, 2)
    assert (counted.low, counted.high) == (
        counted.history.lifetime.low,
        counted.history.lifetime.high,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sertraline, much, 8", "dose_mg"),
        ("sertraline, 150, 8, wonderful", "outcome"),
        ("sertraline", "weeks"),
        ("x" * 300, "line 1 has 300 characters"),
        ("a\n" * 300, "300 lines"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        count_list(text, TODAY)


def test_a_posted_form_is_taken_apart() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="failed_trials"\r\n\r\n4\xe2\x80\x938\r\n'
        b'--b\r\nContent-Disposition: form-data; name="clinic"; filename="a.json"\r\n'
        b'Content-Type: application/json\r\n\r\n{"kind":\r\n1}\r\n--b--\r\n'
    )
    found = parse_form("multipart/form-data; boundary=b", body)
    assert found == {"failed_trials": "4–8", "clinic": '{"kind":\r\n1}'}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--b\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b\r\nX: y", b"--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 40 + b"--b--\r\n",
        ),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ProblemError, match="cannot be read"):
        parse_form(kind, body)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "so_far", "compare", "clinic"]), st.text()))
def test_whatever_is_typed_is_read_or_named(typed: dict[str, str]) -> None:
    for posted in (False, True):
        asked = read_inputs(typed, BOUNDS, posted=posted)
        for fault in asked.faults.values():
            assert catalogue("de")(f"error.{fault.key}", **fault.values)
        assert asked.complete == (not asked.faults)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.binary(max_size=300))
def test_whatever_is_posted_is_a_form_or_refused(kind: str, body: bytes) -> None:
    for content_type in (kind, "multipart/form-data; boundary=b"):
        for sent in (body, b"--b\r\n" + body + b"\r\n--b--\r\n", _field(body)):
            with suppress(ProblemError):
                assert isinstance(parse_form(content_type, sent), dict)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_whatever_is_pasted_is_counted_or_refused(text: str) -> None:
    for pasted in (text, "sertraline, 150, 8\n" + text):
        with suppress(InputError):
            counted = count_list(pasted, TODAY)
            assert 0 <= counted.low <= counted.high <= 20


def _field(name: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n'
    return head + name + b"\r\n--b--\r\n"
