"""Counting from rows, CSV files and DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ketacast.errors import InputError
from ketacast.history import CountRange, count_failed_trials_in_table, read_table

AS_OF = "2026-06-01"
ROWS: list[dict[str, Any]] = [
    {"drug": "sertraline", "dose_mg": 100, "start": "2025-01-10", "end": "2025-06-30"},
    {"drug": "Effexor XR", "dose_mg": 150, "start": "2025-07", "end": "2025-12"},
    {"drug": "bupropion", "dose_mg": None, "start": "2026-01-05", "weeks": 12},
]


def test_rows_are_counted() -> None:
    found = count_failed_trials_in_table(ROWS, as_of=AS_OF)
    assert found.current_episode == CountRange(2, 3)
    assert [era.ingredient for era in found.eras] == ["sertraline", "venlafaxine", "bupropion"]
    assert found.eras[0].sources == ("row 1",)


def test_a_data_frame_is_counted_the_same() -> None:
    expected = count_failed_trials_in_table(ROWS, as_of=AS_OF)
    frame = pd.DataFrame(ROWS)
    assert count_failed_trials_in_table(frame, as_of=AS_OF) == expected
    dated = frame.iloc[[0]].assign(
        start=pd.to_datetime("2025-01-10"), end=pd.to_datetime("2025-06-30")
    )
    assert count_failed_trials_in_table(dated, as_of=AS_OF).eras[0].start == "2025-01-10"
    rows = pl.DataFrame(ROWS).to_dicts()
    assert count_failed_trials_in_table(rows, as_of=AS_OF) == expected


def test_a_csv_file_is_counted_and_its_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "treatments.csv"
    path.write_text(
        "\ufeffdrug,dose_mg,start,end,weeks\r\n"
        "sertraline,100,2025-01-10,2025-06-30,\r\n"
        "\r\n"
        '"Effexor XR",150,2025-07,2025-12,\r\n',
        encoding="utf-8",
    )
    found = count_failed_trials_in_table(read_table(path), as_of=AS_OF)
    assert [era.sources for era in found.eras] == [("line 2",), ("line 4",)]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("drug;dose_mg\n", "unknown column"),
        ("dose_mg\n50\n", "column missing"),
        ("drug,drug\nx,y\n", "given twice"),
        ("drug,weeks\nsertraline\n", "1 cells where the header has 2"),
        ('drug,weeks\n"sertraline,4\n', "not CSV"),
        ("", "column missing"),
    ],
)
def test_a_file_with_faults_is_refused(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=named):
        read_table(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_table(path)
    with pytest.raises(InputError, match="give a CSV file"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({}, "name the drug"),
        ({"drug": "sertraline"}, "give a start and an end, or weeks"),
        ({"drug": "sertraline", "end": "2025-01-01"}, "give a start"),
        ({"drug": "sertraline", "start": "2025-02-30"}, "give a day, month or year"),
        ({"drug": "sertraline", "start": "2025-05-01", "end": "2025-01-01"}, "before the start"),
        ({"drug": "sertraline", "weeks": "-4"}, "weeks above 0"),
        ({"drug": "sertraline", "weeks": 4, "dose_mg": "two"}, "mg a day"),
        ({"drug": "sertraline", "weeks": 4, "outcome": "purple"}, "give failed"),
        ({"drug": "sertraline", "weeks": 4, "status": "perhaps"}, "give ended"),
    ],
)
def test_every_fault_of_a_row_is_named(row: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        count_failed_trials_in_table([ROWS[0], row], as_of=AS_OF)
    assert "row 2" in str(caught.value)


def test_all_faults_are_listed_at_once() -> None:
    rows = [{"drug": "sertraline", "weeks": "x", "dose_mg": "y"} for _ in range(30)]
    with pytest.raises(InputError, match="90 faults") as caught:
        count_failed_trials_in_table(rows, as_of=AS_OF)
    assert "... and 70 more" in str(caught.value)


@pytest.mark.parametrize("rows", ["drug", 7, None, {"drug": "x"}, [7], ["drug"]])
def test_what_is_no_table_is_refused(rows: Any) -> None:
    with pytest.raises(InputError, match="give a"):
        count_failed_trials_in_table(rows, as_of=AS_OF)


def test_a_name_that_is_no_antidepressant_is_listed() -> None:
    rows = [
        *ROWS,
        {"drug": "sertralyne", "weeks": 8},
        {"drug": "sertraline or citalopram", "weeks": 8},
    ]
    found = count_failed_trials_in_table(rows, as_of=AS_OF)
    assert [entry.source for entry in found.unread] == ["row 4", "row 5"]
    assert found.unread[0].reason.endswith("write sertraline if it is that")


def test_a_decimal_comma_is_read() -> None:
    row = {"drug": "mirtazapine", "dose_mg": "37,5", "weeks": "8,5", "start": "2026-01"}
    found = count_failed_trials_in_table([row], as_of=AS_OF)
    assert found.eras[0].highest_mg == 37.5
    with pytest.raises(InputError, match="1,000"):
        count_failed_trials_in_table([{**row, "dose_mg": "1,000"}], as_of=AS_OF)


@pytest.mark.parametrize(
    ("status", "start", "code"),
    [("planned", "2026-01-01", "planned"), ("not taken", "2026-01-01", "not_taken"),
     ("", "2026-12-01", "future")],
)  # fmt: skip
def test_rows_that_are_no_treatment_are_set_aside(status: str, start: str, code: str) -> None:
    row = {"drug": "sertraline", "dose_mg": 100, "start": start, "weeks": 12, "status": status}
    found = count_failed_trials_in_table([row], as_of=AS_OF)
    assert [entry.code for entry in found.set_aside] == [code]


def test_what_runs_to_the_index_date_may_go_on() -> None:
    row = {"drug": "sertraline", "dose_mg": 100, "start": "2026-01-01"}
    for more in ({"status": "ongoing"}, {"end": AS_OF}, {"status": "ongoing", "end": "2026-05-30"}):
        (era,) = count_failed_trials_in_table([row | more], as_of=AS_OF).eras
        assert era.ongoing, more
    (era,) = count_failed_trials_in_table(
        [row | {"end": AS_OF, "status": "ended"}], as_of=AS_OF
    ).eras
    assert not era.ongoing
    (era,) = count_failed_trials_in_table([row], as_of=AS_OF).eras
    assert [reason.code for reason in era.reasons] == ["ongoing", "assumed_length"]


def test_the_order_of_rows_changes_nothing() -> None:
    rows = [row | {"id": f"r{place}"} for place, row in enumerate(ROWS)]
    expected = count_failed_trials_in_table(rows, as_of=AS_OF)
    assert count_failed_trials_in_table(rows[::-1], as_of=AS_OF) == expected
