"""Histories are those of the patients that the engine of individuals counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ketacast.cli import main
from ketacast.errors import InputError
from ketacast.simulation import patient_histories, save_specification, simulate
from ketacast.simulation.documents import from_document
from ketacast.simulation.specification import Dropout, Specification

Build = Callable[..., Specification]
DRAW = 3


@pytest.fixture(params=[None, Dropout(0.08, 0.05)], ids=["all stay", "some leave"])
def spec(build: Build, request: pytest.FixtureRequest) -> Specification:
    return build(engine="individuals", patients=900, dropout=request.param, draws=6)


@pytest.fixture
def frame(spec: Specification) -> pd.DataFrame:
    return patient_histories(spec, draw=DRAW)


def test_they_add_up_to_the_outcomes(spec: Specification, frame: pd.DataFrame) -> None:
    result = simulate(spec)
    for strategy in spec.strategies:
        own = frame[frame["strategy"] == strategy.name]
        assert len(own) == spec.patients
        counted = {
            "ended_in_response": own["in_response"].mean(),
            "ended_in_remission": (own["in_response"] & own["statuses"].str.endswith("M")).mean(),
            "dropouts": (own["ended"] == "dropped out").mean(),
        }
        if strategy.maintenance is None and strategy.reinduction is None:
            counted["infusions"] = own["infusions"].mean()
        for outcome, value in counted.items():
            wanted = result.at(strategy.name, outcome)[DRAW]
            assert value == pytest.approx(wanted, abs=1e-12), (strategy.name, outcome)
        in_response = own["weeks"].str[spec.horizon_weeks - 1] == "1"
        wanted = result.at(strategy.name, "response")[DRAW]
        assert in_response.mean() == pytest.approx(wanted, abs=1e-12)


def test_they_keep_to_the_rules(spec: Specification, frame: pd.DataFrame) -> None:
    assert (frame["statuses"].str.len() == frame["infusions"]).all()
    assert set("".join(frame["statuses"])) <= set("NRM")
    last = frame["statuses"].str[-1]
    assert (frame["in_response"] == last.isin(["R", "M"])).all()
    assert (frame["weeks"].str.len() == spec.horizon_weeks).all()
    assert not (frame["weeks"].str.contains("1") & ~frame["in_response"]).any()
    stopped = frame[frame["ended"] == "stopped"]
    assert set(stopped["strategy"]) == {"eight, stopped"}
    early = stopped[stopped["infusions"] == 3]
    assert (early["statuses"] == "NNN").all()
    assert set(stopped["infusions"]) == {3, 5}
    extended = frame[frame["strategy"] == "six, extended, kept up"]
    longer = extended[extended["infusions"] > 6]
    assert (longer["statuses"].str[5] != "M").all()
    whole = frame[(frame["strategy"] == "six") & (frame["ended"] == "completed")]
    assert (whole["infusions"] == 6).all()


def test_patients_are_the_same_under_all_strategies(frame: pd.DataFrame) -> None:
    four = frame[frame["strategy"] == "four"].set_index("patient")["statuses"]
    six = frame[frame["strategy"] == "six"].set_index("patient")["statuses"]
    assert all(one.startswith(other) for one, other in zip(six, four, strict=True))


def test_any_range_gives_the_same_patients(spec: Specification, frame: pd.DataFrame) -> None:
    part = patient_histories(spec, draw=DRAW, patients=(100, 110))
    assert frame[frame["patient"].between(100, 109)].reset_index(drop=True).equals(part)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patients": (5, 5)}, "give a range"),
        ({"patients": (5, 2.5)}, "give two whole numbers"),
        ({"patients": (1, 2, 3)}, "give two whole numbers"),
        ({"draw": 6}, "draw is 6"),
    ],
)
def test_what_is_not_there_is_refused(
    build: Build, change: dict[str, tuple[int, int] | int], told: str
) -> None:
    spec = build(engine="individuals", patients=900, draws=6)
    with pytest.raises(InputError, match=told):
        patient_histories(spec, **change)  # type: ignore[arg-type]


def test_another_engine_has_none(build: Build) -> None:
    with pytest.raises(InputError, match="has no histories; give 'individuals'"):
        patient_histories(build())


@pytest.mark.parametrize("name", ["patients.csv", "patients.parquet"])
def test_the_command_writes_them(
    build: Build, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = build(patients=900, draws=6)  # its own engine does not matter here
    save_specification(spec, tmp_path / "spec.toml")
    out = tmp_path / name
    command = ["simulate", "histories", str(tmp_path / "spec.toml"), "--draw", str(DRAW)]
    assert main([*command, "--patients", "10:20", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "wrote 10 patients under each strategy, of draw 3" in told
    assert "Model ketamine-trd " in told
    read = pd.read_csv(out, dtype={"weeks": str}) if name.endswith("csv") else pd.read_parquet(out)
    wanted = patient_histories(build(engine="individuals", patients=900, draws=6), DRAW, (10, 20))
    assert read.to_dict("list") == wanted.to_dict("list")
    assert wanted.attrs["draw"] == DRAW
    assert from_document(wanted.attrs["specification"]).engine == "individuals"
    if name.endswith("parquet"):
        assert read.attrs == wanted.attrs


@pytest.fixture
def written(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory that holds a specification."""
    monkeypatch.chdir(tmp_path)
    save_specification(build(patients=900, draws=6), "spec.toml")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--patients", "5"], "--patients is '5'"),
        (["--patients", "0:10000"], "give a range within 0 to 900"),
        (["--out", "patients.txt"], "end the name in .csv or .parquet"),
        (["--out", "nowhere/patients.csv"], "nowhere"),
        (["--draw", "-1"], "draw is -1"),
    ],
)
@pytest.mark.usefixtures("written")
def test_the_command_says_what_is_wrong(
    given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", "histories", "spec.toml", "--out", "patients.csv", *given]
    assert main(command) in (1, 2)
    assert told in capsys.readouterr().err
