"""Every check finds its fault: one cell is broken, one fault is told."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ketacast.errors import EvidenceError, Fault
from ketacast.evidence import load_evidence
from ketacast.evidence.columns import TABLES

PRODUCT = Path(__file__).parents[2] / "models" / "ketamine-trd" / "evidence"
# Rows of a hostile file must be read in linear time; a laptop needs about 3 s.
HOSTILE_SECONDS = 60.0

Match = dict[str, str]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PRODUCT, tmp_path / "evidence"))


def edit(directory: Path, file: str, match: Match, changes: Match) -> int:
    """Change cells of the first matching row; return its line."""
    path = directory / file
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    index = next(i for i, row in enumerate(rows) if match.items() <= row.items())
    assert changes.keys() <= rows[index].keys()
    rows[index] |= changes
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return index + 2


def faults_of(directory: Path) -> tuple[Fault, ...]:
    with pytest.raises(EvidenceError) as caught:
        load_evidence(directory)
    assert str(len(caught.value.faults)) in str(caught.value)
    return caught.value.faults


def only_fault(directory: Path) -> Fault:
    faults = faults_of(directory)
    assert len(faults) == 1, [str(fault) for fault in faults]
    return faults[0]


AFTER_FIRST = {"outcome": "response", "model_use": "time_course"}
ANAND = {"cohort_id": "anand2023", "outcome": "response"}
ALBOTT = {"cohort_id": "albott2018", "outcome": "response"}

BASSO = {"cohort_id": "basso2020"}
CONTROL = {"cohort_id": "lapidus2014", "is_control": "yes"}
CULLEN = {"cohort_id": "cullen2018", "outcome": "response"}

TIME_COURSE = {"cohort_id": "biok2023", "model_use": "time_course"}

# file, row, column, broken cell, part of the message
BROKEN_CELLS: list[tuple[str, Match, str, str, str]] = [
    ("cohorts.csv", {"cohort_id": "anand2023"}, "year", "1889", "out of range"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "year", "2023.5", "not a whole number"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "year", "soon", "not a number"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "n_enrolled", "0", "out of range"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "n_enrolled", "1_000", "not a number"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "n_enrolled", "9" * 40, "out of range"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "n_enrolled", "1e3", "not a whole number"),
    ("cohorts.csv", {"cohort_id": "gutierrez2024"}, "age_mean", "121", "out of range"),
    ("cohorts.csv", {"cohort_id": "gutierrez2024"}, "age_mean", "inf", "not a number"),
    ("cohorts.csv", {"cohort_id": "gutierrez2024"}, "age_mean", "1e999", "out of range"),
    ("cohorts.csv", {"cohort_id": "gutierrez2024"}, "age_sd", "0", "out of range"),
    ("cohorts.csv", {"cohort_id": "gutierrez2024"}, "female_pct", "100.1", "out of range"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "doi", "doi.org/10.1/x", "not well formed"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "pmid", "PMID1", "not well formed"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "design", "cohort", "unknown choice"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "include_primary", "maybe", "not a flag"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "family", "", "blank"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "cohort_id", "", "blank"),
    ("cohorts.csv", {"cohort_id": "anand2023"}, "exclusion_reason", "drug: x", "leave it blank"),
    ("cohorts.csv", {"cohort_id": "albott2018"}, "exclusion_reason", "", "give `code: text`"),
    ("cohorts.csv", {"cohort_id": "albott2018"}, "exclusion_reason", "why: x", "not well formed"),
    ("cohorts.csv", {"cohort_id": "pfeiffer2024"}, "failed_trials_min", "7", "above failed"),
    ("outcomes.csv", ANAND, "events", "nan", "not a number"),
    ("outcomes.csv", ANAND, "events", "-1", "out of range"),
    ("outcomes.csv", ANAND, "events", "196", "more events than patients"),
    ("outcomes.csv", ANAND, "events", "", "the model uses"),
    ("outcomes.csv", ALBOTT, "n", "0", "out of range"),
    ("outcomes.csv", ALBOTT, "pct_reported", "95.1", "14/15 is 93.3 %"),
    ("outcomes.csv", ALBOTT, "pct_reported", "101", "out of range"),
    ("outcomes.csv", ALBOTT, "events_basis", "", "reported or derived"),
    ("outcomes.csv", ALBOTT, "denominator_basis", "", "reported or assumed"),
    ("outcomes.csv", ALBOTT, "infusions_basis", "", "blank beside infusions"),
    ("outcomes.csv", ALBOTT, "infusions", "101", "out of range"),
    ("outcomes.csv", ALBOTT, "days_from_first_infusion", "-1", "out of range"),
    ("outcomes.csv", ALBOTT, "cohort_id", "nobody", "no such cohort"),
    ("outcomes.csv", ALBOTT, "arm", "", "blank"),
    ("outcomes.csv", ALBOTT, "scorer", "robot", "unknown choice"),
    ("outcomes.csv", ALBOTT, "source_url", "ftp://x.org/y", "not well formed"),
    ("outcomes.csv", ALBOTT, "model_use", "yes", "unknown choice"),
    ("outcomes.csv", BASSO, "sd", "-3", "out of range"),
    ("outcomes.csv", ANAND, "primary", "no", "disagrees with model_use"),
    ("outcomes.csv", CULLEN, "model_use", "time_course", "family without a primary cohort"),
    ("outcomes.csv", TIME_COURSE, "infusions", "", "blank in a time-course row"),
    ("outcomes.csv", TIME_COURSE, "is_control", "yes", "no control arm"),
    ("outcomes.csv", TIME_COURSE, "outcome", "relapse", "response and remission only"),
    ("contrasts.csv", {"contrast_id": "su2023_gt4"}, "source", "", "blank"),
    ("contrasts.csv", {"contrast_id": "su2023_gt4"}, "family", "other", "'su2023'"),
    ("contrasts.csv", {"contrast_id": "su2023_gt4"}, "trials_gap_low", "6", "above trials_gap"),
    ("contrasts.csv", {"contrast_id": "thomas2018_vs_pool_rem"}, "se", "", "come together"),
    ("contrasts.csv", {"contrast_id": "su2023_gt4"}, "se", "0", "out of range"),
    ("early_change.csv", {"row_id": "biok_r1"}, "n", "", "the measure is count"),
    ("early_change.csv", {"row_id": "biok_r1"}, "family", "other", "'biok2023'"),
    ("early_change.csv", {"row_id": "biok_n1"}, "row_id", "biok_r1", "same row_id as"),
    ("early_change.csv", {"row_id": "biok_n1"}, "events", "41", "more events than patients"),
    ("early_change.csv", {"row_id": "lipsitz_beta1"}, "value_low", "9", "above value_high"),
    ("relapse.csv", {"row_id": "albott_med"}, "median_days", "", "the measure is median_time"),
    ("relapse.csv", {"row_id": "phillips_lit"}, "mean_days", "18-19", "not a number"),
    ("relapse.csv", {"row_id": "cusin_2w"}, "cohort_id", "nobody", "no such cohort"),
    ("relapse.csv", {"row_id": "cusin_2w"}, "maintenance_schedule", "", "blank"),
    ("published_syntheses.csv", {"source_id": "kishimoto2016"}, "ci_low", "0", "above ci_high"),
    ("published_syntheses.csv", {"source_id": "kishimoto2016"}, "year", "", "blank"),
    ("published_syntheses.csv", {"source_id": "nikolin2023"}, "source_url", "", "no source"),
]


@pytest.mark.parametrize("case", BROKEN_CELLS)
def test_broken_cell(directory: Path, case: tuple[str, Match, str, str, str]) -> None:
    file, match, column, value, message = case
    line = edit(directory, file, match, {column: value})
    fault = only_fault(directory)
    assert (fault.file, fault.row, fault.column, fault.value) == (file, line, column, value)
    assert message in fault.message


def test_control_arm_by_another_route_has_three_faults(directory: Path) -> None:
    line = edit(directory, "outcomes.csv", CONTROL, {"model_use": "time_course"})
    found = [(fault.row, fault.column) for fault in faults_of(directory)]
    assert found == [(line, "is_control"), (line, "model_use"), (line, "model_use")]


def test_same_patients_twice(directory: Path) -> None:
    edit(directory, "outcomes.csv", {"cohort_id": "zheng2019"} | AFTER_FIRST, {"infusions": "6"})
    fault = only_fault(directory)
    assert (fault.column, fault.value) == ("model_use", "time_course")
    assert "already gives this family, outcome and number of infusions" in fault.message


def test_contrast_of_a_fit_needs_figures(directory: Path) -> None:
    changes = {"use_primary": "yes", "trials_gap_low": ""}
    line = edit(directory, "contrasts.csv", {"contrast_id": "su2023_gt4"}, changes)
    found = [(fault.row, fault.column) for fault in faults_of(directory)]
    assert found == [(line, "log_or"), (line, "trials_gap_low")]


def test_whole_number_with_point_is_read(directory: Path) -> None:
    edit(directory, "cohorts.csv", {"cohort_id": "anand2023"}, {"n_enrolled": "195.0"})
    assert load_evidence(directory).cohort("anand2023").n_enrolled == 195


def test_duplicate_cohort(directory: Path) -> None:
    line = edit(directory, "cohorts.csv", {"cohort_id": "gosek2014"}, {"cohort_id": "anand2023"})
    duplicates = [fault for fault in faults_of(directory) if fault.row == line]
    assert [(fault.column, fault.value) for fault in duplicates] == [("cohort_id", "anand2023")]
    assert "cohorts.csv line 2" in duplicates[0].message


def test_second_primary_row(directory: Path) -> None:
    changes = {"primary": "yes", "model_use": "primary"}
    line = edit(
        directory,
        "outcomes.csv",
        {"cohort_id": "griffiths2019", "outcome": "response", "scale": "CGI"},
        changes,
    )
    fault = only_fault(directory)
    assert (fault.row, fault.column) == (line, "model_use")
    assert "second primary row" in fault.message


def test_second_primary_cohort_of_a_family(directory: Path) -> None:
    match = {"cohort_id": "albott2018"}
    line = edit(directory, "cohorts.csv", match, {"include_primary": "yes", "exclusion_reason": ""})
    edit(directory, "outcomes.csv", ALBOTT, {"primary": "yes", "model_use": "primary"})
    fault = only_fault(directory)
    assert (fault.file, fault.row, fault.column) == ("cohorts.csv", line, "include_primary")
    assert "shiroma2014" in fault.message


def test_primary_cohort_without_primary_row(directory: Path) -> None:
    match = {"cohort_id": "murrough2013", "outcome": "response"}
    edit(directory, "outcomes.csv", match, {"primary": "no", "model_use": ""})
    fault = only_fault(directory)
    assert (fault.file, fault.column, fault.value) == ("cohorts.csv", "include_primary", "yes")


def test_primary_row_of_an_excluded_cohort(directory: Path) -> None:
    line = edit(directory, "outcomes.csv", ALBOTT, {"primary": "yes", "model_use": "primary"})
    fault = only_fault(directory)
    assert (fault.row, fault.column) == (line, "model_use")
    assert "include_primary no" in fault.message


def test_model_takes_intravenous_racemic_ketamine(directory: Path) -> None:
    match = {"cohort_id": "gutierrez2024"}
    edit(directory, "cohorts.csv", match, {"drug": "esketamine", "route": "in"})
    fault = only_fault(directory)
    assert fault.column == "model_use"
    assert "drug esketamine route in" in fault.message


def test_remission_within_response(directory: Path) -> None:
    match = {"cohort_id": "anand2023", "outcome": "remission"}
    line = edit(directory, "outcomes.csv", match, {"events": "109", "pct_reported": ""})
    fault = only_fault(directory)
    assert (fault.row, fault.column, fault.value) == (line, "events", "109")
    assert "more remitters than responders (108" in fault.message


def test_remission_beyond_response_is_left_alone_outside_the_model(directory: Path) -> None:
    rows = load_evidence(directory).outcomes_of("lii2023")
    day2 = {row.outcome: row.events for row in rows if row.timepoint == "day 2"}
    assert day2 == {"remission": 11, "response": 10}


def test_row_without_any_source(directory: Path) -> None:
    blank = {"doi": "", "pmid": ""}
    edit(directory, "cohorts.csv", {"cohort_id": "murrough2013rct"}, blank)
    match = {"cohort_id": "murrough2013rct", "is_control": "yes"}
    line = edit(directory, "outcomes.csv", match, {"source_url": ""})
    fault = only_fault(directory)
    assert (fault.row, fault.column) == (line, "source_url")


def test_source_may_come_from_the_cohort(directory: Path) -> None:
    edit(directory, "outcomes.csv", ANAND, {"source_url": ""})
    assert load_evidence(directory).outcomes_of("anand2023")[1].source_url == ""


def test_all_faults_at_once(directory: Path) -> None:
    first = edit(directory, "outcomes.csv", ANAND, {"scorer": "robot", "pct_reported": "60"})
    second = edit(directory, "cohorts.csv", {"cohort_id": "anand2023"}, {"year": "x"})
    (directory / "relapse.csv").unlink()
    found = [(fault.file, fault.row, fault.column) for fault in faults_of(directory)]
    assert found == [
        ("cohorts.csv", second, "year"),
        ("outcomes.csv", first, "scorer"),
        ("outcomes.csv", first, "pct_reported"),
        ("relapse.csv", None, None),
    ]


def test_missing_directory(tmp_path: Path) -> None:
    faults = faults_of(tmp_path / "nowhere")
    assert [fault.file for fault in faults] == [spec.file for spec in TABLES.values()]
    assert all("missing" in fault.message for fault in faults)


def test_file_that_is_a_directory(directory: Path) -> None:
    (directory / "relapse.csv").unlink()
    (directory / "relapse.csv").mkdir()
    assert "cannot be read" in only_fault(directory).message


Change = Callable[[bytes], bytes]
# name of the case, change of relapse.csv, row, column, part of the message
BROKEN_FILES: list[tuple[Change, int | None, str | None, str]] = [
    (lambda data: b"", None, None, "no header line"),
    (lambda data: b"\n\n", None, None, "no header line"),
    (lambda data: bytes(range(256)), None, None, "not UTF-8"),
    (lambda data: data.replace(b"median", b"\0"), None, None, "NUL"),
    (lambda data: data.decode().encode("utf-16"), None, None, "not UTF-8"),
    (lambda data: data.split(b"\n")[0] + b"\n", None, None, "no rows below"),
    (lambda data: data.replace(b",", b";"), None, None, "semicolons"),
    (lambda data: data + b'x,"unbalanced\n' + b"y," * 9, 33, None, "quotation marks"),
    (lambda data: data + b'x,"a"b\n', 33, None, "quotation marks"),
    (lambda data: data + b"x," + b"z" * 200_000 + b"\n", 33, None, "field larger"),
    (lambda data: data + b"x,cusin2017\n", 33, None, "too few cells: 2"),
    (lambda data: data + b"x" + b"," * 30 + b"\n", 33, None, "too many cells: 31"),
    (lambda data: data.replace(b"locator", b"locater"), 1, "locater", "unknown column"),
    (lambda data: data.replace(b"locator", b"notes"), 1, "notes", "column given twice"),
    (lambda data: data.replace(b"notes\n", b"\n", 1), 1, None, "unknown column"),
]


@pytest.mark.parametrize(("change", "row", "column", "message"), BROKEN_FILES)
def test_broken_file(
    directory: Path, change: Change, row: int | None, column: str | None, message: str
) -> None:
    path = directory / "relapse.csv"
    path.write_bytes(change(path.read_bytes()))
    faults = faults_of(directory)
    assert (faults[0].file, faults[0].row, faults[0].column) == ("relapse.csv", row, column)
    assert message in faults[0].message
    assert all(fault.column and "missing" in fault.message for fault in faults[1:])


def test_broken_cohorts_do_not_cascade(directory: Path) -> None:
    path = directory / "cohorts.csv"
    path.write_bytes(path.read_bytes()[:5000])
    assert len(faults_of(directory)) <= 2


def test_blank_lines_are_skipped(directory: Path) -> None:
    path = directory / "relapse.csv"
    path.write_bytes(path.read_bytes() + b"\n" + b"," * 20 + b"\n")
    assert len(load_evidence(directory).relapse) == 31


def test_line_numbers_count_lines_not_rows(directory: Path) -> None:
    path = directory / "relapse.csv"
    data = path.read_bytes().replace(b"responders (adolescents)", b'"responders\n(adolescents)"')
    last = data.rstrip(b"\n").rsplit(b"\n", 1)[1]
    path.write_bytes(data.replace(last, last.replace(b"realesk2025long", b"nobody")))
    rows = path.read_bytes().decode().count("\n")
    fault = only_fault(directory)
    assert (fault.row, fault.value) == (rows, "nobody")


def test_many_bad_rows_are_all_told_in_time(directory: Path) -> None:
    path = directory / "relapse.csv"
    row = b"same,nobody,f,racemic_ketamine,iv,x,relapse,count,t,1e999,9,2,3,,,,,none,,press,\n"
    path.write_bytes(path.read_bytes() + row * 100_000)
    start = time.perf_counter()
    faults = faults_of(directory)
    assert time.perf_counter() - start < HOSTILE_SECONDS
    assert len({fault.row for fault in faults}) == 100_000


def test_long_values_are_cut_in_messages(directory: Path) -> None:
    edit(directory, "cohorts.csv", {"cohort_id": "anand2023"}, {"year": "9" * 5000})
    fault = only_fault(directory)
    assert len(str(fault)) < 300
