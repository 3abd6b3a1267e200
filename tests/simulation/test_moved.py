"""Results that are read from bytes, and run again where they and their profiles were moved."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ketacast.cli import main
from ketacast.clinical.artifact import Artifact
from ketacast.errors import ArtifactError, InputError
from ketacast.simulation import (
    Cohort,
    Group,
    SimulationResult,
    Specification,
    Strategy,
    drivers,
    read_header,
    read_result,
    simulate,
    write_results,
)
from ketacast.simulation.parquet import KEY, same_content
from ketacast.simulation.tasks import make_context, plan_of
from ketacast.updating.update import update_clinic

Build = Callable[..., Specification]

HEAD = "batch,failed_trials_min,failed_trials_max,infusions,rated_by,denominator,n,responders,"


def write_profile(artifact: Artifact, path: Path, counts: str = "12,8,5") -> None:
    table = path.with_suffix(".csv")
    table.write_text(f"{HEAD}remitters\n2026,3,5,6,self,all_treated,{counts}\n")
    path.write_text(update_clinic(artifact, table).to_json())
    table.unlink()


@pytest.fixture
def begun(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a specification, its profile and its results, which is then left."""
    where = tmp_path / "begun"
    where.mkdir()
    write_profile(artifact, where / "clinic-abc.json")
    (where / "spec.toml").write_text(
        "[simulation]\npatients = 200\nhorizon_weeks = 8\ndraws = 60\n"
        "[[cohort.groups]]\nfailed_trials = 4\nrated_by = 'self'\nshare = 0.7\n"
        "clinic = 'clinic-abc.json'\n"
        "[[cohort.groups]]\nfailed_trials = 4\nrated_by = 'self'\nshare = 0.3\n"
        "[[strategies]]\nname = 'four'\ninfusions = 4\n"
        "[[strategies]]\nname = 'six'\ninfusions = 6\n"
    )
    monkeypatch.chdir(where)
    assert main(["simulate", "run", "spec.toml", "--out", "results"]) == 0
    monkeypatch.chdir(tmp_path)
    return where


@pytest.mark.parametrize("layout", ["as it was", "side by side"])
def test_results_moved_with_their_profile_run_again_to_the_bit(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(begun, moved)
    results = moved / "results"
    if layout == "side by side":
        (moved / "clinic-abc.json").rename(results / "clinic-abc.json")
    capsys.readouterr()
    for name in ("draws", "summary", "differences"):
        assert main(["simulate", "rerun", f"elsewhere/results/{name}.parquet"]) == 0
        assert "the same to the last bit" in capsys.readouterr().out
    result = read_result(results)
    assert next(iter(result.clinics)).startswith(str(moved))
    assert (simulate(result.specification).values == result.values).all()
    assert len(drivers(result)) > 5


def test_a_missing_or_other_profile_is_named(
    begun: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    file = begun / "results" / "draws.parquet"
    write_profile(artifact, begun / "clinic-abc.json", "12,3,1")
    capsys.readouterr()
    assert main(["simulate", "rerun", str(file)]) == 2
    assert "clinic-abc.json has sha256" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"clinic-abc\.json has sha256"):
        drivers(read_result(file))
    assert main(["simulate", "run", str(begun / "spec.toml"), "--out", str(begun / "results")]) == 2
    assert "not the one with which" in capsys.readouterr().err
    (begun / "clinic-abc.json").unlink()
    assert main(["simulate", "rerun", str(file)]) == 2
    assert "put the profile with sha256" in capsys.readouterr().err
    result = read_result(file)  # numbers can be read without it
    assert result.at("six", "infusions").size == 60
    with pytest.raises(InputError, match="the path of a profile that exists"):
        simulate(result.specification)


def test_relative_paths_are_looked_for_beside_the_result(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_profile(artifact, tmp_path / "own.json")
    monkeypatch.chdir(tmp_path)
    group = Group(4, "self", 1.0, "own.json")
    spec = Specification(
        Cohort((group,), counted=False), (Strategy("six", 6),), 6, 100, engine="expected", draws=4
    )
    write_results(simulate(spec), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    write_profile(artifact, other / "own.json", "12,3,1")
    monkeypatch.chdir(other)
    assert main(["simulate", "rerun", "../draws.parquet"]) == 0
    assert "the same to the last bit" in capsys.readouterr().out


def test_a_profile_written_anew_is_read_anew(
    artifact: Artifact, build: Build, tmp_path: Path
) -> None:
    profile = tmp_path / "own.json"
    spec = build(
        cohort=Cohort((Group(4, "self", 1.0, str(profile)),), counted=False), engine="expected",
        draws=4,
    )  # fmt: skip
    write_profile(artifact, profile)
    first, context = simulate(spec), make_context(spec, None)
    write_profile(artifact, profile, "12,3,1")
    second = simulate(spec)
    assert first.clinics != second.clinics
    assert (first.values != second.values).any()
    plan_of.cache_clear()
    with pytest.raises(ArtifactError, match="put the same profile there"):
        plan_of(context)


def test_results_are_read_from_bytes(build: Build, tmp_path: Path) -> None:
    result = simulate(build(draws=3))
    for path in write_results(result, tmp_path):
        held = io.BytesIO(path.read_bytes())
        assert read_header(held) == read_header(path)
        assert same_content(held, result)
        assert same_content(held, result)  # read again from its start
    held = io.BytesIO((tmp_path / "draws.parquet").read_bytes())
    assert (read_result(held).values == result.values).all()
    with (tmp_path / "draws.parquet").open("rb") as opened:
        assert (read_result(opened).values == result.values).all()
    with pytest.raises(InputError, match="the file cannot be read as Parquet"):
        read_header(io.BytesIO(b"PAR1"))
    with pytest.raises(InputError, match="the file holds summary"):
        read_result(io.BytesIO((tmp_path / "summary.parquet").read_bytes()))


def altered(path: Path, change: Callable[[dict[str, Any]], object]) -> io.BytesIO:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415

    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[KEY])
    new = change(header)
    held = io.BytesIO()
    text = json.dumps(header if new is None else new)
    pq.write_table(table.replace_schema_metadata({KEY: text.encode()}), held)
    return held


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: 5, "damaged header"),
        (lambda header: header.pop("model"), "damaged header"),
        (lambda header: header.update(kind="other"), "kind is 'other'"),
        (lambda header: header.update(schema_version=9), "schema version 9"),
        (lambda header: header.update(clinics=3), "damaged header"),
        (lambda header: header["specification"].pop("cohort"), r"table \[cohort\]"),
        (lambda header: header["specification"]["simulation"].update(draws=4), "rows"),
        (lambda header: header["specification"].update(utilities={
            "in_response": 1, "otherwise": 0}), "has the columns"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(
    build: Build, tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    write_results(simulate(build(draws=3, engine="expected")), tmp_path)

    def changed(header: dict[str, Any]) -> object:
        new = change(header)
        return new if isinstance(new, int) else None

    with pytest.raises(InputError, match=told):
        read_result(altered(tmp_path / "draws.parquet", changed))


def test_damaged_columns_are_refused(build: Build, tmp_path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    result: SimulationResult = simulate(build(draws=3, engine="expected"))
    write_results(result, tmp_path)
    file = tmp_path / "draws.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("response")
    text = table.set_column(place, "response", pa.array(["x"] * table.num_rows))
    pq.write_table(text, file)
    with pytest.raises(InputError, match="response is not all numbers"):
        read_result(file)
    assert not same_content(file, result)
    content = bytearray(file.read_bytes())
    content[100:2000] = bytes(1900)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged|cannot be read"):
        read_result(file)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"document": "[", "model": "", "sha256": ""}', "[" * 100_000, "\xff"]
)
def test_hostile_runs_are_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "run.json").write_text(content, encoding="latin-1")
    assert main(["simulate", "resume", str(tmp_path)]) == 2
    assert "holds no simulation to go on with" in capsys.readouterr().err
