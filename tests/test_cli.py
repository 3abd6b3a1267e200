from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ketacast
from ketacast.cli import main

MODEL = Path(__file__).parent.parent / "models" / "ketamine-trd"
ASK = ["predict", "--failed-trials", "6", "--infusions", "6", "--rated-by", "self"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ketacast", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def test_json_equals_the_library() -> None:
    done = run(*ASK, "--json")
    assert done.returncode == 0, done.stderr
    expected = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("text", ["4-8", "4 - 8", "4..8", "4,8"])
def test_a_range_can_be_written(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["predict", "--failed-trials", text, "--infusions", "2", "--rated-by", "self", "--json"]
    )
    assert code == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["failed_trials"] == {"min": 4, "max": 8}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--failed-trials", "1.5"], "1.5"),
        (["--failed-trials", "-1"], "-1"),
        (["--failed-trials", "8-4"], "lowest"),
        (["--failed-trials", "many"], "many"),
        (["--failed-trials", "99999999999999"], "99999999999999"),
        (["--infusions", "0"], "0"),
        (["--infusions", "x"], "'x'"),
        (["--rated-by", "doctor"], "doctor"),
        (["--levels", "80"], "80"),
        (["--levels", ""], "levels"),
    ],
)
def test_bad_input_exits_with_2_and_says_why(
    changed: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = dict(zip(ASK[1::2], ASK[2::2], strict=True)) | {changed[0]: changed[1]}
    code = main(["predict", *(f"{key}={value}" for key, value in arguments.items())])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert named in captured.err


def test_a_missing_rater_is_asked_for_never_assumed() -> None:
    done = run(*ASK[:-2])
    assert done.returncode == 2
    assert "--rated-by is missing" in done.stderr


def test_on_a_terminal_the_rater_is_asked_and_colour_is_used() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ketacast", *ASK[:-2]],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    os.write(leader, b"clinician\n")
    _, errors = process.communicate(timeout=20)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert process.returncode == 0
    assert b"Who rates" in errors
    assert "clinician-rated" in shown
    assert "\x1b[1m" in shown


def test_no_colour_in_a_pipe() -> None:
    assert "\x1b" not in run(*ASK).stdout


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m ketacast evidence list --all | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("cohort")
    assert done.stderr == ""


def test_a_plot_is_written_and_a_wrong_ending_refused(tmp_path: Path) -> None:
    target = tmp_path / "course.svg"
    assert run(*ASK, "--plot", str(target)).returncode == 0
    assert "<svg" in target.read_text()
    refused = run(*ASK, "--plot", str(tmp_path / "course.docx"))
    assert refused.returncode == 2
    assert ".svg" in refused.stderr


def test_model_show_prints_the_coefficients(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show"]) == 0
    text = capsys.readouterr().out
    for name in ("a_R", "g_M", "tau_b"):
        assert name in text
    assert main(["model", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "ketamine-trd"


def test_a_damaged_model_exits_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(MODEL, tmp_path / "model")
    artifact = tmp_path / "model" / "artifact.json"
    artifact.write_text(artifact.read_text().replace("0.38", "0.83", 1))
    assert main([*ASK, "--model", str(tmp_path / "model")]) == 4
    assert "altered" in capsys.readouterr().err
    assert main([*ASK, "--model", str(tmp_path / "nowhere")]) == 4


def test_evidence_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "check"]) == 0
    assert "no faults" in capsys.readouterr().out
    assert main(["evidence", "list"]) == 0
    assert "murrough2013" in capsys.readouterr().out
    assert main(["evidence", "show", "murrough2013"]) == 0
    assert "10.1016/j.biopsych.2012.06.022" in capsys.readouterr().out
    assert main(["evidence", "show", "murough2013"]) == 2
    assert "did you mean" in capsys.readouterr().err
    broken = tmp_path / "evidence"
    shutil.copytree(MODEL / "evidence", broken)
    outcomes = broken / "outcomes.csv"
    outcomes.write_text(outcomes.read_text().replace(",74,195,", ",740,195,", 1))
    assert main(["evidence", "check", str(broken)]) == 3
    assert "outcomes.csv:" in capsys.readouterr().err


def test_rows_are_added_to_a_new_directory_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = (MODEL / "evidence" / "early_change.csv").read_text().splitlines()
    first, second = rows[0].split(",", 1)
    added = tmp_path / "more.csv"
    added.write_text(f"{header}\n{first}_again,{second}\n")
    out = tmp_path / "mine"
    assert main(["evidence", "add", str(added)]) == 0
    assert "nothing written" in capsys.readouterr().out
    assert not out.exists()
    assert main(["evidence", "add", str(added), "--out", str(out)]) == 0
    assert main(["evidence", "check", str(out)]) == 0
    assert "21 early-change rows" in capsys.readouterr().out


def test_synthesis_prints_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesis"]) == 0
    text = capsys.readouterr().out
    assert "published" in text
    assert "0.45 [0.35, 0.55]" in text
    assert main(["synthesis", "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_help_has_examples() -> None:
    for command in (["predict"], ["model", "show"], ["evidence", "add"], ["fit"], ["validate"]):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert "examples:" in done.stdout
    assert "exit codes" in run("--help").stdout


def test_bad_recipe_or_evidence_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((MODEL / "recipe.toml").read_text().replace("sd = 0.15", "sd = -1"))
    out = tmp_path / "out"
    assert main(["fit", "--recipe", str(recipe), "--out", str(out)]) == 3
    assert "g_M" in capsys.readouterr().err
    assert not out.exists()
