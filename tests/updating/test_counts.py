"""Counts: what is read, what is refused and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.updating.counts import Batch, Cell, cumulative, join_batches
from ketacast.updating.counts_file import COLUMNS, parse_counts, read_counts

HEADER = ",".join(COLUMNS)
GOOD = "2026-Q1,4,8,6,self,all_treated,20,8,3"


def text(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows, ""]).encode()


def cell(**changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "failed_trials": (4, 8),
        "infusions": 6,
        "rated_by": "self",
        "denominator": "all_treated",
        "n": 20,
        "responders": 8,
        "remitters": 3,
    }
    return Cell(**{**fields, **changes})


def test_a_file_gives_batches_in_order(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_bytes(
        text(GOOD, "2026-Q2,2,2,9,clinician,completers,5,,1", "2026-Q1,0,3,6,self,all_treated,4,1,")
    )
    first, second = read_counts(path)
    assert first == Batch(
        "2026-Q1", (cell(), cell(failed_trials=(0, 3), n=4, responders=1, remitters=None))
    )
    assert second.label == "2026-Q2"
    assert second.cells[0].responders is None
    assert second.cells[0].remitters == 1
    assert first.n == 24


def test_columns_may_stand_in_any_order_after_a_byte_order_mark() -> None:
    columns = list(reversed(COLUMNS))
    row = list(reversed(GOOD.split(",")))
    data = "\ufeff" + ",".join(columns) + "\r\n" + ",".join(row) + "\r\n"
    assert parse_counts(data.encode()) == parse_counts(text(GOOD))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2026-Q1,4,8,6,unknown,all_treated,20,8,3", "differ by about a logit"),
        ("2026-Q1,4,8,6,nurse,all_treated,20,8,3", "'nurse'; choose one of 'self', 'clinician'"),
        ("2026-Q1,4,8,6,self,everyone,20,8,3", "'everyone'; choose one of"),
        ("2026-Q1,8,4,6,self,all_treated,20,8,3", "swap them"),
        ("2026-Q1,4,21,6,self,all_treated,20,8,3", "from 0 to 20"),
        ("2026-Q1,4,8,31,self,all_treated,20,8,3", "from 1 to 30"),
        ("2026-Q1,4,8,0,self,all_treated,20,8,3", "from 1 to 30"),
        ("2026-Q1,4,8,6,self,all_treated,20,21,3", "21 responders of 20 patients"),
        ("2026-Q1,4,8,6,self,all_treated,20,,21", "21 remitters of 20 patients"),
        ("2026-Q1,4,8,6,self,all_treated,20,3,8", "a remitter counts as a responder too"),
        ("2026-Q1,4,8,6,self,all_treated,20,,", "neither responders nor remitters"),
        ("2026-Q1,4,8,6,self,all_treated,,8,3", "[n]: give a whole number"),
        ("2026-Q1,4,8,6,self,all_treated,20,8.5,3", "[responders] '8.5'"),
        ("2026-Q1,4,8,6,self,all_treated,20,-1,3", "[responders] '-1'"),
        ("2026-Q1,4,8,6,self,all_treated,20,8", "8 cells where the header has 9"),
        ("2026-03-14,4,8,6,self,all_treated,20,8,3", "a day may point to a patient"),
        (",4,8,6,self,all_treated,20,8,3", "for example 2026-Q1"),
        ("=cmd(),4,8,6,self,all_treated,20,8,3", "for example 2026-Q1"),
    ],
)
def test_a_faulty_row_is_told_with_its_line(row: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_counts(text(GOOD.replace("Q1", "Q4"), row), "mine.csv")
    assert "mine.csv:3" in str(caught.value)
    assert said in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    rows = [f"b{i},9,2,6,self,all_treated,20,8,3" for i in range(30)]
    with pytest.raises(InputError, match="30 faults") as caught:
        parse_counts(text(*rows))
    assert "and 10 more" in str(caught.value)


def test_the_same_batch_and_covariates_twice_is_refused() -> None:
    with pytest.raises(InputError, match="repeats line 2"):
        parse_counts(text(GOOD, GOOD))
    assert len(parse_counts(text(GOOD, GOOD.replace("self", "clinician")))) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "missing"),
        (HEADER.encode(), "no rows below the header"),
        (HEADER.replace(",n,", ",").encode() + b"\n", "[n]: column missing"),
        (HEADER.encode() + b",name\n", "unknown column"),
        (HEADER.encode() + b",n\n", "given twice"),
        (HEADER.replace(",", ";").encode() + b"\n", "semicolons"),
        (text('2026-Q1,"4'), "quotation marks"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_counts_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_counts(data)
    assert said in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_counts(tmp_path / "none.csv")


def test_cells_and_labels_are_checked_without_a_file_too() -> None:
    with pytest.raises(InputError, match="n is True"):
        cell(n=True)
    with pytest.raises(InputError, match="failed_trials is 6"):
        cell(failed_trials=6)
    with pytest.raises(InputError, match="batch label"):
        Batch("a" * 41, ())


def test_a_repeated_batch_is_refused_or_added() -> None:
    old, new = Batch("2026-Q1", (cell(),)), Batch("2026-Q1", (cell(n=10, responders=4),))
    with pytest.raises(InputError, match="counted in the profile already"):
        join_batches([old], [new])
    (joined,) = join_batches([old], [new], "add")
    assert joined.cells == (cell(n=30, responders=12, remitters=6),)


def test_infusions_beyond_the_plateau_count_as_the_plateau() -> None:
    assert cumulative([cell(infusions=8), cell(infusions=12)], 8) == (
        cell(infusions=8, n=40, responders=16, remitters=6),
    )


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    low = draw(st.integers(0, 3))
    n = draw(st.integers(0, 30))
    responders = draw(st.none() | st.integers(0, n))
    limit = n if responders is None else responders
    remitters = draw(
        st.integers(0, limit) if responders is None else st.none() | st.integers(0, limit)
    )
    return cell(
        failed_trials=(low, low + draw(st.integers(0, 1))),
        infusions=draw(st.sampled_from([6, 8, 11])),
        rated_by=draw(st.sampled_from(["self", "clinician"])),
        n=n,
        responders=responders,
        remitters=remitters,
    )


@given(
    st.lists(cells(), max_size=12).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    )
)
def test_order_does_not_matter_to_the_totals(pair: tuple[list[Cell], list[Cell]]) -> None:
    given_cells, shuffled = pair
    total = cumulative(given_cells, 8)
    assert total == cumulative(shuffled, 8)
    assert total == cumulative([*cumulative(shuffled[:5], 8), *shuffled[5:]], 8)
    assert sum(one.n for one in total) == sum(one.n for one in given_cells)
