"""A course under way and what follows it: one answer in the library and on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ketacast
from ketacast.cli import main
from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.course_parts import load_durability
from ketacast.errors import InputError
from ketacast.predictor import Predictor

ASKED: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}


def test_unknown_statuses_change_nothing() -> None:
    for rater in ("self", "unknown"):
        asked = ASKED | {"rated_by": rater}
        plain = ketacast.predict(**asked)
        unknown = ketacast.predict(**asked, so_far="??")
        assert unknown.response == plain.response
        assert unknown.remission == plain.remission
        assert unknown.course == plain.course[2:]


def test_statuses_move_the_answer_as_they_should() -> None:
    expected = {
        letters: ketacast.predict(**ASKED, so_far=letters).response.expected
        for letters in ("NN", "N", "?", "R", "M")
    }
    ordered = [expected[letters] for letters in ("NN", "N", "?", "R", "M")]
    assert ordered == sorted(ordered)


def test_the_answer_covers_what_is_to_come() -> None:
    answer = ketacast.predict(**ASKED, so_far=" n nR")
    assert answer.inputs.so_far == "NNR"
    assert [point.infusion for point in answer.course] == [4, 5, 6]
    assert [point.infusion for point in answer.extended] == list(range(7, 31))
    assert answer.response == answer.course[-1].response
    for point in (*answer.course, *answer.extended):
        assert point.remission.expected <= point.response.expected
    assert answer.warnings[0].code == "course_under_way"
    assert "125 patients in 3 cohorts" in answer.warnings[0].message
    assert "stop" not in str(answer).replace("no advice to go on or to\n  stop", "").replace(
        "does not advise to start, continue or stop", ""
    )


def test_a_rare_course_is_said_to_be_rare() -> None:
    answer = ketacast.predict(failed_trials=6, infusions=10, rated_by="self", so_far="R" * 8)
    assert answer.warnings[0].code == "rare_course"


@pytest.mark.parametrize(
    ("so_far", "message"),
    [
        ("NX", "'X' for infusion 2"),
        ("NNNNNN", "6 infusions of 6 planned"),
        (["N"], "give text with a letter per infusion"),
    ],
)
def test_unusable_statuses_are_refused(so_far: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ketacast.predict(**ASKED, so_far=so_far)


def test_the_command_gives_the_same_answer(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["predict", "--failed-trials", "6", "--infusions", "6", "--rated-by", "self"]
    assert main([*base, "--so-far", "NNR", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(ketacast.predict(**ASKED, so_far="NNR").to_dict()))
    assert main([*base, "--so-far", "NNR"]) == 0
    text = capsys.readouterr().out
    assert "after 3: N N R" in text
    assert "If the course were longer:" in text
    assert "8 to 30" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_plain_answers_keep_their_shape() -> None:
    content = ketacast.predict(**ASKED).to_dict()
    assert "extended" not in content
    assert "so_far" not in content["inputs"]


def test_a_model_without_dynamics_says_so() -> None:
    artifact = load_artifact()
    content = {k: v for k, v in artifact.content.items() if k not in ("dynamics", "durability")}
    bare = replace(artifact, content=content)
    with pytest.raises(InputError, match=r"add a \[dynamics\] section"):
        Predictor(bare).predict(6, 6, "self", so_far="N")
    with pytest.raises(InputError, match=r"\[durability\] section"):
        load_durability(bare)


def test_after_prints_the_curve_and_its_limits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn = tmp_path / "after.svg"
    assert main(["after", "--weeks", "12", "--plot", str(drawn)]) == 0
    text = capsys.readouterr().out
    assert "41 responders in 4 cohorts" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "still in response" in drawn.read_text(encoding="utf-8")
    assert main(["after", "--weeks", "12", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    durability = load_durability(load_artifact())
    assert printed["curve"] == json.loads(json.dumps(durability.curve(range(13)).to_dict()))
    first, last = printed["curve"]["share"][0], printed["curve"]["share"][-1]
    assert first["expected"] == 1.0
    assert 0.0 < last["expected"] < 0.5


def test_maintenance_is_labelled_as_transported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["after", "--maintenance", "remitters"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "SUSTAIN-1 (esketamine, transported)" in text
    interval = ["--interval-weeks", "4", "--interval-multiplier", "1.5"]
    assert main(["after", "--maintenance", "responders", *interval]) == 0
    assert "the user's assumption, not the model's" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weeks", "0"], "--weeks is 0"),
        (["--weeks", "200"], "--weeks is 200; give 1 to 104"),
        (["--interval-weeks", "4"], "are about maintenance"),
        (["--maintenance", "responders", "--interval-weeks", "4"], "give both"),
    ],
)
def test_unusable_requests_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["after", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_scores_say_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores"]) == 0
    text = capsys.readouterr().out
    assert "(descriptive)" in text
    assert "MADRS      r = 0.5: about 9" in text
    assert "prints a baseline SD of QIDS-SR16" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80
    assert main(["scores", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pooled"][0]["correlation"] == 0.5
