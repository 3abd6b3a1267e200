"""Files that would exhaust memory or time, or break a parser, are refused in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.cli import main
from ketacast.errors import InputError, KetacastError
from ketacast.options import shown
from ketacast.simulation import Cohort, Group, Specification, Strategy
from ketacast.simulation.cohort_tables import cohort_from_table
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.files import load_specification, save_specification, to_toml

Build = Callable[..., Specification]

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("laughs.yaml", LAUGHS, "with its aliases it holds more than 100,000 values"),
        ("merges.yaml", MERGES, "with its aliases it holds more than 100,000 values"),
        ("within.yaml", "a: &a [*a]", "stands within itself"),
        ("deep.yaml", "[" * 5000, "nested too deeply"),
        ("deep.json", "[" * 100_000, "nested too deeply"),
        ("deep.toml", "a = " + "[" * 5000, "nested too deeply"),
        ("twice.yaml", "simulation: {}\nsimulation: {}", "'simulation' stands twice"),
        ("twice.json", '{"cohort": {}, "cohort": {}}', "'cohort' stands twice"),
        ("twice.toml", "[cohort]\n[cohort]", "Cannot declare"),
        ("bytes.yaml", "a: \x00", "cannot be read"),
        ("tag.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("date.yaml", "simulation: {title: 2020-01-01}\ncohort: {}", "groups is None"),
        ("long.toml", "[simulation]\npatients = 1" + "0" * 5000, "cannot be read"),
        ("hex.toml", "[simulation]\npatients = 0x1" + "0" * 5000, "groups is None"),
        ("nothing.yaml", "", "holds no tables"),
    ],
)
def test_hostile_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    file = tmp_path / name
    if name.startswith(("date", "hex")):
        text = text.replace("cohort: {}", "cohort: {groups: null}\nstrategies: []")
        text += "\n[cohort]\n" if name.endswith("toml") else ""
    file.write_text(text, encoding="utf-8")
    start = time.process_time()
    assert main(["simulate", "run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert time.process_time() - start < 5.0
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_numbers_too_long_to_write_are_told(build: Build) -> None:
    huge = 1 << 100_000
    for section, entry in (
        ({"simulation": {"patients": huge, "horizon_weeks": 12}}, "patients is a number of 100001"),
        ({"costs": {"currency": "EUR", "per_infusion": huge}}, "per_infusion is a number of"),
        ({"schema_version": huge}, "schema_version is a number of"),
    ):
        with pytest.raises(InputError, match=entry):
            from_document({**to_document(build()), **section})
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep, deep]
    assert len(shown(deep)) < 300
    with pytest.raises(InputError, match="engine is"):
        from_document({**to_document(build()), "simulation": {
            "patients": 10, "horizon_weeks": 12, "engine": deep}})  # fmt: skip


def test_a_device_is_not_read_to_its_end(tmp_path: Path) -> None:
    endless = tmp_path / "endless.toml"
    endless.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="has more than 1000000 bytes"):
        load_specification(endless)
    with pytest.raises(InputError, match=r"give a \.toml"):
        load_specification("/dev/zero")
    with pytest.raises(InputError, match="cannot read"):
        load_specification(tmp_path / "a\0b.toml")


def test_a_mark_of_byte_order_and_other_line_ends_are_read(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    text = to_toml(to_document(build())).replace("\n", "\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    assert load_specification(file) == build()


@pytest.mark.parametrize("ending", ["toml", "yaml", "json"])
def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path, ending: str) -> None:
    spec = Specification(
        Cohort((Group(4, "self", np.float64(0.25)),), counted=False),
        (Strategy("six", 6, per_week=np.float64(1.5)),),
        26, 100, levels=(np.float64(0.5),), remission_share=np.float64(0.5),
    )  # fmt: skip
    file = tmp_path / f"a.{ending}"
    save_specification(spec, file)
    assert load_specification(file) == spec


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pd.DataFrame({"failed_trials": [3], "rated_by": ["self"], "n": ["x"]}), "n is 'x'"),
        (pd.DataFrame({"failed_trials": [3], "rated_by": ["self"], "n": [True]}), "n is True"),
        (
            pd.DataFrame({"failed_trials": [3.0, None], "rated_by": ["self"] * 2}),
            "row 2 of the cohort's table: failed_trials is nan",
        ),
        (pd.DataFrame({"failed_trials": [[3]], "rated_by": ["self"]}), r"failed_trials is \[3\]"),
        (pd.DataFrame({"failed_trials": [3], "rated_by": [None]}), "rated_by is None; give text"),
        (pd.DataFrame({"failed_trials": [], "rated_by": []}), "has no rows"),
        (
            pd.DataFrame([[3, 3, "self"]], columns=["failed_trials", "failed_trials", "rated_by"]),
            "the column 'failed_trials' twice",
        ),
        (
            pa.table([[3], [3], ["self"]], names=["failed_trials", "failed_trials", "rated_by"]),
            "the column 'failed_trials' twice",
        ),
        (
            pd.DataFrame({"failed_trials": [3] * 6000, "rated_by": ["self"] * 6000,
                          "clinic": [f"{i}.json" for i in range(6000)]}),
            "more than 5,000 different groups",
        ),
    ],
)  # fmt: skip
def test_hostile_tables_are_refused(table: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        cohort_from_table(table)


def test_whole_numbers_of_a_column_with_real_ones_are_whole() -> None:
    table = pd.DataFrame({"failed_trials": [3.0, 4.0], "rated_by": ["self"] * 2, "n": [2.0, 5.0]})
    assert cohort_from_table(table).groups == (Group(3, "self", 2), Group(4, "self", 5))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_in_any_place_is_taken_or_refused_in_words(data: st.DataObject) -> None:
    strategy = Strategy("a", 6)
    document = to_document(
        Specification(Cohort((Group(4, "self", 1.0),), counted=False), (strategy,), 26, 100)
    )
    document["strategies"][0] |= {"stop": [{"after": 3}], "taper": {"infusions": 2, "per_week": 1}}
    place: object = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(plain)
            break
        place = inner
    try:
        made = from_document(document)
    except KetacastError as error:
        made, told = None, str(error)
    if made is None:
        assert 0 < len(told) < 2000
    else:
        assert from_document(to_document(made)) == made
