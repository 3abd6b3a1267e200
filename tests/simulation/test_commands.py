"""``ketacast simulate``: the worked examples run, results are read, errors are told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ketacast.cli import main
from ketacast.plots.simulation import trajectories_figure
from ketacast.simulation import (
    Cohort,
    Costs,
    Group,
    Maintenance,
    Specification,
    Strategy,
    Utilities,
    drivers,
    incremental,
    load_specification,
    net_benefit,
    read_result,
    save_specification,
    simulate,
)
from ketacast.simulation.economics import effect_of

EXAMPLES = Path(__file__).parents[2] / "docs" / "simulation" / "examples"
SPECS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".toml", ".yaml"))


def test_there_are_five_examples() -> None:
    assert len(SPECS) == 5
    assert {load_specification(path).engine for path in SPECS} == {
        "counts", "expected", "individuals",
    }  # fmt: skip


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_examples_run_and_rerun_to_the_bit(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["simulate", "run", str(path), "--out", str(out), "--draws", "6"]) == 0
    told = capsys.readouterr()
    assert "Assumed by the user:" in told.out
    assert told.err == ""  # progress is silent in a log
    result = read_result(out)
    assert load_specification(out / "specification.toml") == result.specification
    assert result.specification.draws == 6
    assert main(["simulate", "rerun", str(out)]) == 0
    assert main(["simulate", "rerun", str(out / "differences.parquet")]) == 0
    assert "the same to the last bit" in capsys.readouterr().out
    assert main(["simulate", "compare", str(out)]) == 0
    assert "Infusions for each week in response" in capsys.readouterr().out
    assert main(["simulate", "resume", str(out)]) == 0


def test_a_changed_file_is_not_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415

    out = tmp_path / "out"
    args = ["simulate", "run", str(EXAMPLES / "stopping.toml"), "--out", str(out)]
    assert main([*args, "--draws", "4", "--engine", "expected"]) == 0
    file = out / "summary.parquet"
    table = pq.read_table(file)
    frame = table.to_pandas()
    frame.loc[frame["mean"].idxmax(), "mean"] *= 1.0 + 2**-52
    import pyarrow as pa  # noqa: PLC0415

    altered = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(altered.replace_schema_metadata(table.schema.metadata), file)
    capsys.readouterr()
    assert main(["simulate", "rerun", str(file)]) == 1
    assert "differs from its own specification" in capsys.readouterr().err


def test_figures_are_drawn_with_their_text(tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["simulate", "run", str(EXAMPLES / "costs.yaml"), "--out", str(out)]
    assert main([*args, "--draws", "64"]) == 0
    for kind, more, told in (
        ("trajectories", [], "by week, mean and 80 % range"),
        ("comparison", ["--outcome", "infusions"], "compared with four"),
        ("tornado", ["--strategy", "six", "--reference", "four"], "What drives"),
        ("acceptability", [], "highest net benefit"),
    ):
        file = tmp_path / f"{kind}.svg"
        args = ["simulate", "plot", str(out), "--kind", kind, "--out", str(file), *more]
        assert main(args) == 0
        assert told in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run", "none.toml", "--out", "x"], "cannot read none.toml"),
        (["run", str(SPECS[0]), "--out", "x", "--draws", "0"], "draws is 0"),
        (["run", str(EXAMPLES / "planning.toml"), "--out", "x", "--patients", "9"], "counts"),
        (["run", str(SPECS[0]), "--out", "x", "--workers", "0"], "workers is 0"),
        (["resume", "nowhere"], "holds no simulation to go on with"),
        (["compare", "nowhere"], "cannot be read as Parquet"),
        (["rerun", "nowhere.parquet"], "cannot be read as Parquet"),
        (["plot", "nowhere", "--out", "x.svg"], "cannot be read as Parquet"),
    ],
)
def test_errors_are_told_with_exit_code_2(
    args: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *args]) == 2
    assert told in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("run", "resume", "compare", "plot", "rerun"):
        with pytest.raises(SystemExit, match="0"):
            main(["simulate", part, "--help"])
        assert f"ketacast simulate {part} " in capsys.readouterr().out


def test_another_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    args = ["simulate", "run", str(EXAMPLES / "stopping.toml"), "--out", str(out), "--draws", "4"]
    assert main(args) == 0
    model = tmp_path / "model"
    shutil.copytree(Path(__file__).parents[2] / "models" / "ketamine-trd", model)
    artifact = model / "artifact.json"
    text = artifact.read_text(encoding="utf-8")
    artifact.write_text(text.replace('"title": "', '"title": "My '), encoding="utf-8")
    capsys.readouterr()
    assert main(["simulate", "rerun", str(out / "draws.parquet"), "--model", str(model)]) == 4
    assert "was altered" in capsys.readouterr().err


def test_cost_effectiveness_adds_up() -> None:
    spec = Specification(
        Cohort((Group(6, "self", 1.0),), counted=False),
        (Strategy("four", 4), Strategy("six", 6)), 26, 1000, draws=64, engine="expected",
        costs=Costs("EUR", 100.0, per_patient=50.0, per_week_in_response=10.0,
                    per_week_otherwise=30.0),
        utilities=Utilities(0.9, 0.5), willingness_to_pay=(0.0, 1e4),
    )  # fmt: skip
    result = simulate(spec)
    weeks, given = result.at("six", "weeks_in_response"), result.at("six", "infusions")
    cost = 50.0 + 100.0 * given + 10.0 * weeks + 30.0 * (26 - weeks)
    assert result.at("six", "cost") == pytest.approx(cost)
    qalys = (0.9 * weeks + 0.5 * (26 - weeks)) * 7 / 365.25
    assert result.at("six", "qalys") == pytest.approx(qalys)
    assert effect_of(result) == "qalys"
    frame = net_benefit(result)
    assert frame.groupby("threshold")["probability_best"].sum().tolist() == pytest.approx([1, 1])
    assert frame["net_benefit"].iloc[-1] == pytest.approx((1e4 * qalys - cost).mean())
    row = incremental(result).iloc[0]
    assert row["ratio"] == pytest.approx(row["cost"] / row["effect"])


def test_drivers_find_what_matters() -> None:
    spec = Specification(
        Cohort((Group(6, "self", 1.0),), counted=False), (Strategy("six", 6),), 26, 1000,
        draws=512, engine="expected",
    )  # fmt: skip
    found = drivers(simulate(spec)).set_index("parameter")["swing"]
    assert found.index[0] in ("clinic: response", "time in response: scale")
    assert found["time in response: scale"] > 1.0
    assert abs(found["remission: rater"]) < 1.0
    assert not [name for name in found.index if name.startswith("maintenance")]
    kept_up = replace(spec, strategies=(Strategy("six", 6, maintenance=Maintenance(2, 1.0)),))
    names = set(drivers(simulate(kept_up))["parameter"])
    assert {"maintenance: hazard ratio of responders", "response: level"} <= names


def test_names_that_look_like_formulas_are_drawn_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Specification(
        Cohort((Group(6, "self", 1.0),), counted=False),
        (Strategy("$\\foo{$ a_b^c", 4), Strategy('_$6 and $7 <b>&amp; "q" é', 6)), 9, 100,
        title="red \x1b[31m\nsecond", draws=60, engine="expected",
        costs=Costs("US$ $\\x", 0.02), willingness_to_pay=(0.0, 0.5),
    )  # fmt: skip
    save_specification(spec, tmp_path / "spec.toml")
    out = str(tmp_path / "out")
    assert main(["simulate", "run", str(tmp_path / "spec.toml"), "--out", out]) == 0
    told = capsys.readouterr().out
    assert told.startswith("red  [31m second\n")
    for kind in ("trajectories", "comparison", "tornado", "acceptability"):
        file = tmp_path / f"{kind}.svg"
        assert main(["simulate", "plot", out, "--kind", kind, "--out", str(file)]) == 0
        assert "$7 &lt;b&gt;" in file.read_text(encoding="utf-8")
    for outcome in ("cost", "response"):
        args = ["--outcome", outcome, "--out", str(tmp_path / "x.png")]
        for kind in ("trajectories", "comparison", "tornado"):
            assert main(["simulate", "plot", out, "--kind", kind, *args]) == 0
    capsys.readouterr()
    assert main(["simulate", "compare", out]) == 0
    told = capsys.readouterr().out
    assert "at 0.50 US$ $\\x:\n" in told
    assert "+0.04 US$ $\\x" in told


def test_negative_qalys_are_drawn() -> None:
    spec = Specification(
        Cohort((Group(6, "self", 1.0),), counted=False), (Strategy("six", 6),), 26, 100,
        draws=16, engine="expected", utilities=Utilities(-0.2, -0.6),
    )  # fmt: skip
    result = simulate(spec)
    assert (result.at("six", "qalys") < 0.0).all()
    axes = trajectories_figure(result, "qalys").axes[0]
    assert axes.get_ylim()[0] < result.at("six", "qalys").min()
    assert trajectories_figure(result, "response").axes[0].get_ylim()[0] == 0.0


def test_no_public_name_is_also_a_module() -> None:
    """A module that is imported would take the place of the function of its name."""
    import ketacast.simulation as library  # noqa: PLC0415

    modules = {path.stem for path in Path(library.__file__).parent.glob("*.py")}
    assert not modules & set(library.__all__)
