"""Rows that a researcher adds: checked with the base, written whole or not at all."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from ketacast.errors import EvidenceError, Fault, InputError
from ketacast.evidence import check_additions, load_evidence, write_additions
from ketacast.evidence.columns import TABLES
from ketacast.evidence.specs import TableName

PRODUCT = Path(__file__).parents[2] / "models" / "ketamine-trd" / "evidence"

COHORT = {
    "cohort_id": "newclinic2027",
    "family": "newclinic",
    "year": "2027",
    "doi": "10.1000/new.clinic",
    "design": "prospective_cohort",
    "setting": "real_world",
    "population": "trd_mixed",
    "drug": "racemic_ketamine",
    "route": "iv",
    "in_alnefeesi2022": "no",
    "verification": "fulltext",
    "include_primary": "yes",
}
RESPONSE = {
    "cohort_id": "newclinic2027",
    "arm": "iv_ketamine",
    "is_control": "no",
    "outcome": "response",
    "timepoint": "after six infusions",
    "infusions": "6",
    "infusions_basis": "reported",
    "events": "30",
    "n": "60",
    "pct_reported": "50",
    "events_basis": "reported",
    "denominator_basis": "reported",
    "scale": "PHQ-9",
    "scorer": "self",
    "analysis": "itt",
    "rating_timing": "end_of_course",
    "primary": "yes",
    "locator": "fulltext",
    "notes": "with a comma, and a line\nbreak",
    "model_use": "primary",
}


def write_rows(
    path: Path, table: TableName, rows: list[dict[str, str]], *, reverse: bool = False
) -> Path:
    columns = list(TABLES[table].column_names)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns[::-1] if reverse else columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def cohorts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "my_cohorts.csv", "cohorts", [COHORT])


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    remission = RESPONSE | {"outcome": "remission", "events": "12", "pct_reported": "20"}
    rows = [RESPONSE, remission]
    return write_rows(tmp_path / "my_outcomes.csv", "outcomes", rows, reverse=True)


def faults_of(files: list[Path], base: Path = PRODUCT) -> tuple[Fault, ...]:
    with pytest.raises(EvidenceError) as caught:
        check_additions(base, files)
    return caught.value.faults


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_rows_are_added(cohorts: Path, outcomes: Path, tmp_path: Path) -> None:
    before = snapshot(PRODUCT)
    out = tmp_path / "deep" / "er" / "evidence"
    written = write_additions(PRODUCT, [outcomes, cohorts], out)
    assert dict(written.counts) == dict.fromkeys(TABLES, 0) | {"cohorts": 1, "outcomes": 2}
    assert written.total == 3
    base, grown = load_evidence(PRODUCT), load_evidence(out)
    assert grown == written.evidence
    assert written.base_sha256 == base.sha256 != grown.sha256
    assert grown.cohorts[:-1] == base.cohorts
    assert grown.outcomes[:-2] == base.outcomes
    assert len(grown.primary_cohorts()) == 25
    added = grown.outcomes_of("newclinic2027")
    assert [(row.outcome, row.events, row.n) for row in added] == [
        ("response", 30, 60),
        ("remission", 12, 60),
    ]
    assert added[0].notes == RESPONSE["notes"]
    assert snapshot(PRODUCT) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["evidence"]


def test_check_writes_nothing(cohorts: Path, outcomes: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    checked = check_additions(PRODUCT, [cohorts, outcomes])
    assert sorted(tmp_path.iterdir()) == before
    assert checked == write_additions(PRODUCT, [cohorts, outcomes], tmp_path / "out")


def test_base_with_other_line_ends_and_order(outcomes: Path, cohorts: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(PRODUCT, tmp_path / "base"))
    with (PRODUCT / "outcomes.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row[::-1] for row in csv.reader(handle)]
    with (base / "outcomes.csv").open("w", encoding="utf-8-sig", newline="") as handle:
        csv.writer(handle, lineterminator="\r\n").writerows(rows)
    write_additions(base, [cohorts, outcomes], tmp_path / "out")
    straight = check_additions(PRODUCT, [cohorts, outcomes]).evidence
    assert load_evidence(tmp_path / "out").outcomes == straight.outcomes


def test_faults_carry_the_added_file_and_line(tmp_path: Path) -> None:
    bad = write_rows(
        tmp_path / "my_outcomes.csv",
        "outcomes",
        [RESPONSE | {"notes": ""}, RESPONSE | {"outcome": "remission", "n": "0", "notes": ""}],
    )
    faults = faults_of([bad])
    assert {fault.file for fault in faults} == {"my_outcomes.csv"}
    assert [(fault.row, fault.column, fault.value) for fault in faults] == [
        (2, "cohort_id", "newclinic2027"),
        (3, "n", "0"),
        (3, "cohort_id", "newclinic2027"),
    ]


def test_taken_names_are_refused(tmp_path: Path) -> None:
    taken = write_rows(tmp_path / "mine.csv", "cohorts", [COHORT | {"cohort_id": "anand2023"}])
    fault = next(fault for fault in faults_of([taken]) if fault.column == "cohort_id")
    assert (fault.file, fault.row, fault.value) == ("mine.csv", 2, "anand2023")
    assert "cohorts.csv line 2" in fault.message


def test_same_file_name_as_the_base_is_told_apart(tmp_path: Path) -> None:
    mine = write_rows(tmp_path / "cohorts.csv", "cohorts", [COHORT | {"year": "x"}])
    assert [fault.file for fault in faults_of([mine])] == [str(mine), str(mine)]


def test_second_primary_cohort_of_a_family_is_refused(outcomes: Path, tmp_path: Path) -> None:
    mine = write_rows(tmp_path / "mine.csv", "cohorts", [COHORT | {"family": "anand2023"}])
    faults = faults_of([mine, outcomes])
    assert (faults[0].file, faults[0].column) == ("mine.csv", "include_primary")


def test_cohort_without_counts_is_refused(cohorts: Path) -> None:
    faults = faults_of([cohorts])
    assert [(fault.file, fault.row, fault.column) for fault in faults] == [
        ("my_cohorts.csv", 2, "include_primary")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "fits no table"),
        (b"a,b\n1,2\n", "fits no table"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a\0b", "NUL"),
    ],
)
def test_strange_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(content)
    (fault,) = faults_of([path])
    assert fault.file == "strange.csv"
    assert message in fault.message


def test_header_only_and_missing_column(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(",".join(TABLES["relapse"].column_names[:-1]) + "\n", encoding="utf-8")
    messages = [fault.message for fault in faults_of([path])]
    assert any("column missing" in message for message in messages)
    assert any("no rows" in message for message in messages)


def test_absent_file_and_faulty_base_are_told_together(tmp_path: Path) -> None:
    base = Path(shutil.copytree(PRODUCT, tmp_path / "base"))
    (base / "relapse.csv").write_bytes(b"")
    faults = faults_of([tmp_path / "absent.csv"], base)
    assert [fault.file for fault in faults] == ["relapse.csv", "absent.csv"]


def test_nothing_is_written_when_a_row_is_wrong(tmp_path: Path, cohorts: Path) -> None:
    with pytest.raises(EvidenceError):
        write_additions(PRODUCT, [cohorts], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_directory_in_use_is_refused(tmp_path: Path, cohorts: Path, outcomes: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").touch()
    for target in (used, used / "file", PRODUCT):
        with pytest.raises(InputError, match="in use"):
            write_additions(PRODUCT, [cohorts, outcomes], target)
    assert [path.name for path in used.iterdir()] == ["file"]
    empty = tmp_path / "empty"
    empty.mkdir()
    write_additions(PRODUCT, [cohorts, outcomes], empty)
    assert len(load_evidence(empty).cohorts) == 124


def test_directory_that_cannot_be_made(tmp_path: Path, cohorts: Path, outcomes: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_additions(PRODUCT, [cohorts, outcomes], tmp_path / "file" / "evidence")


def test_no_files() -> None:
    with pytest.raises(InputError, match="files is empty"):
        check_additions(PRODUCT, [])
