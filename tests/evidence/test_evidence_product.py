"""The evidence that comes with the product: complete, sourced, described."""

from __future__ import annotations

import csv
import dataclasses
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.evidence import Evidence, data_dictionary, load_evidence
from ketacast.evidence.columns import TABLES
from ketacast.evidence.reading import parse_table

PRODUCT = Path(__file__).parents[2] / "models" / "ketamine-trd" / "evidence"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return load_evidence(PRODUCT)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PRODUCT, tmp_path / "evidence"))


def test_row_counts(evidence: Evidence) -> None:
    assert len(evidence.cohorts) == 123
    assert len(evidence.outcomes) == 256
    assert len(evidence.contrasts) == 25
    assert len(evidence.early_change) == 20
    assert len(evidence.relapse) == 31
    assert len(evidence.syntheses) == 49


def test_primary_set(evidence: Evidence) -> None:
    primary = evidence.primary_cohorts()
    assert len(primary) == 24
    assert len({cohort.family for cohort in primary}) == 24
    use = Counter((row.model_use, row.outcome) for row in evidence.outcomes if row.model_use)
    assert use["primary", "response"] == 22
    assert use["primary", "remission"] == 14
    assert sum(count for (kind, _), count in use.items() if kind == "time_course") == 7
    assert sum(use.values()) == 43


def test_contrasts_of_the_fit(evidence: Evidence) -> None:
    used = {row.contrast_id: row for row in evidence.contrasts if row.use_primary}
    assert set(used) == {"sustain1_rem_given_resp", "lucchese_msm_resp"}
    sustain = used["sustain1_rem_given_resp"]
    assert (sustain.log_or, sustain.se) == (-0.688, 0.259)
    assert (sustain.trials_gap_low, sustain.trials_gap_high) == (1.0, 2.5)
    assert sustain.conditional_on_response


def test_anchor_values_are_numbers(evidence: Evidence) -> None:
    pooled = {row.quantity: row.number for row in evidence.syntheses if row.number is not None}
    assert pooled["pooled response %"] == 45
    assert pooled["pooled remission %"] == 30
    ranges = [row for row in evidence.syntheses if row.value == "18-19"]
    assert [row.number for row in ranges] == [None]


def test_every_number_has_a_source(evidence: Evidence) -> None:
    counted = [(row.cohort_id, row.source_url) for row in evidence.outcomes]
    counted += [(row.cohort_id, row.source_url) for row in evidence.early_change]
    counted += [(row.cohort_id, row.source_url) for row in evidence.relapse]
    assert all(address or evidence.cohort(name).source for name, address in counted)
    assert all(row.source for row in evidence.contrasts)
    assert all(row.source_url or row.doi for row in evidence.syntheses)


def test_sources_are_public_names(evidence: Evidence) -> None:
    addresses = {row.source_url for row in evidence.outcomes}
    addresses |= {row.source_url for row in evidence.early_change}
    addresses |= {row.source_url for row in evidence.relapse}
    addresses |= {row.source_url for row in evidence.syntheses}
    addresses |= {row.source for row in evidence.contrasts}
    hosts = {urlparse(address).hostname or "" for address in addresses if address}
    assert not [host for host in hosts if re.fullmatch(r"[\d.]+", host)]
    odd = ("proxy", "preview", "dev2", "platformsh", "weglot", "laibokeji", "vukou", "blossom")
    assert not [host for host in hosts if any(part in host for part in odd)]
    assert not [address for address in addresses if urlparse(address).port]


def test_notes_hold_no_quotations() -> None:
    for spec in TABLES.values():
        with (PRODUCT / spec.file).open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                assert not [cell for cell in row.values() if re.search('["“”]', cell)]


def test_files_are_plain_text() -> None:
    for spec in TABLES.values():
        data = (PRODUCT / spec.file).read_bytes()
        assert b"\r" not in data
        assert not data.startswith(b"\xef\xbb\xbf")
        assert data.endswith(b"\n")
        assert data.split(b"\n", 1)[0].decode() == ",".join(spec.column_names)


def test_records_and_columns_agree() -> None:
    for spec in TABLES.values():
        names = tuple(field.name for field in dataclasses.fields(spec.record))
        assert names == spec.column_names
        assert all(column.description for column in spec.columns)


def test_readme_holds_the_data_dictionary() -> None:
    readme = (PRODUCT / "README.md").read_text(encoding="utf-8")
    assert data_dictionary().strip() in readme


def test_records_are_frozen(evidence: Evidence) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence.cohorts[0].year = 1999  # type: ignore[misc]
    assert not hasattr(evidence.outcomes[0], "__dict__")


def test_look_ups(evidence: Evidence) -> None:
    cohort = evidence.cohort("anand2023")
    assert cohort.source == "https://doi.org/10.1056/NEJMoa2302399"
    rows = evidence.outcomes_of("anand2023")
    assert [(row.outcome, row.events, row.n) for row in rows] == [
        ("remission", 74, 195),
        ("response", 108, 195),
    ]
    with pytest.raises(InputError, match="'nobody'"):
        evidence.cohort("nobody")
    with pytest.raises(InputError, match="'nobody'"):
        evidence.outcomes_of("nobody")


def test_frames_keep_types_and_blanks(evidence: Evidence) -> None:
    frame = evidence.to_frame("outcomes")
    assert frame.shape == (256, 25)
    assert frame["n"].dtype == "Int64"
    assert frame["infusions"].dtype == "float64"
    assert frame["is_control"].dtype == "bool"
    assert int(frame["events"].isna().sum()) == sum(row.events is None for row in evidence.outcomes)
    assert list(evidence.to_frame("published_syntheses")["source_id"]) == [
        row.source_id for row in evidence.syntheses
    ]
    with pytest.raises(InputError, match="'outcome'"):
        evidence.to_frame("outcome")  # type: ignore[arg-type]


def test_hash_ignores_line_ends_and_byte_order_mark(evidence: Evidence, directory: Path) -> None:
    for spec in TABLES.values():
        path = directory / spec.file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    again = load_evidence(directory)
    assert again.sha256 == evidence.sha256
    assert again == evidence


def test_hash_sees_a_changed_number(evidence: Evidence, directory: Path) -> None:
    path = directory / "cohorts.csv"
    changed = path.read_bytes().replace(b",50.28,14.26,", b",50.29,14.26,")
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    assert load_evidence(directory).sha256 != evidence.sha256


def test_order_of_columns_is_free(evidence: Evidence, directory: Path) -> None:
    path = directory / "relapse.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(row[::-1] for row in rows)
    assert load_evidence(directory).relapse == evidence.relapse


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_order_of_rows_is_free(seed: int) -> None:
    shuffler = random.Random(seed)  # noqa: S311 - an order of rows, not a secret
    with tempfile.TemporaryDirectory() as scratch:
        for spec in TABLES.values():
            lines = (PRODUCT / spec.file).read_text(encoding="utf-8").splitlines(keepends=True)
            body = lines[1:]
            shuffler.shuffle(body)
            text = lines[0] + "".join(body)
            (Path(scratch) / spec.file).write_text(text, encoding="utf-8", newline="")
        shuffled = load_evidence(scratch)
    straight = load_evidence(PRODUCT)
    for name in TABLES:
        assert set(shuffled.records(name)) == set(straight.records(name))


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400), with_header=st.booleans())
def test_any_bytes_give_faults_not_tracebacks(data: bytes, with_header: bool) -> None:
    spec = TABLES["relapse"]
    head = ",".join(spec.column_names).encode() + b"\n" if with_header else b""
    table = parse_table(spec, spec.file, head + data)
    assert table.faults or all(row.has(*spec.column_names) for row in table.rows)


def test_import_is_light() -> None:
    code = (
        "import sys, ketacast.evidence as e; "
        f"e.load_evidence({str(PRODUCT)!r}); "
        "print(sorted({'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
