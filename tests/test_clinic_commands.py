"""A clinic's own results on the command line and in the library: one answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ketacast
from ketacast.cli import main
from ketacast.updating import load_clinic, update_clinic

HEAD = (
    "batch,failed_trials_min,failed_trials_max,infusions,rated_by,denominator,n,responders,"
    "remitters\n"
)
BASE = ["predict", "--failed-trials", "5", "--infusions", "6", "--rated-by", "self"]


def _written(tmp_path: Path, rows: str) -> Path:
    path = tmp_path / "counts.csv"
    path.write_text(HEAD + rows, encoding="utf-8")
    return path


@pytest.fixture
def profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    rows = "2026-Q1,3,6,6,self,all_treated,24,9,4\n2026-Q2,3,6,6,self,all_treated,31,15,8\n"
    counts, out = _written(tmp_path, rows), tmp_path / "clinic.json"
    command = ["clinic", "update", "--counts", str(counts), "--label", "Ours", "--out", str(out)]
    assert main(command) == 0
    assert "55 patients in 2 batches" in capsys.readouterr().out
    return out


def test_the_command_shows_this_clinic_beside_a_new_one(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra, so_far in (([], ""), (["--so-far", "NR"], "NR")):
        assert main([*BASE, "--clinic", str(profile), *extra, "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        answer = ketacast.predict(
            failed_trials=5,
            infusions=6,
            rated_by="self",
            so_far=so_far,
            clinic=load_clinic(profile),
        )
        assert printed == json.loads(json.dumps(answer.to_dict()))
        assert printed["clinic"]["n"] == 55
        for outcome in ("response", "remission"):
            own, new = printed[outcome]["clinic"]["this_clinic"], printed[outcome]["new_clinic"]
            width = own["0.95"][1] - own["0.95"][0]
            assert width < new["0.95"][1] - new["0.95"][0]
    assert main([*BASE, "--clinic", str(profile)]) == 0
    text = capsys.readouterr().out
    assert "this clinic       80 % range" in text
    assert "Ours, 55 patients counted" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_profile_without_counts_answers_like_a_new_clinic(tmp_path: Path) -> None:
    out = tmp_path / "clinic.json"
    out.write_text(update_clinic(None, []).to_json(), encoding="utf-8")
    clinic = load_clinic(out)
    for so_far in ("", "N"):
        answer = ketacast.predict(
            failed_trials=5, infusions=6, rated_by="unknown", so_far=so_far, clinic=clinic
        )
        for point in (*answer.course, *answer.extended):
            for estimate in (point.response, point.remission):
                assert estimate.clinic is not None
                assert estimate.clinic.expected == estimate.expected
                assert estimate.clinic.this_clinic == estimate.new_clinic


def test_profiles_are_shown_and_checked_for_drift(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clinic", "show", str(profile)]) == 0
    assert "24 responders, 12 remitters" in " ".join(capsys.readouterr().out.split())
    assert main(["clinic", "show", str(profile), "--json"]) == 0
    assert "draws" not in json.loads(capsys.readouterr().out)
    drawn = tmp_path / "drift.svg"
    assert main(["clinic", "drift", str(profile), "--plot", str(drawn)]) == 0
    text = capsys.readouterr().out
    assert "Do the clinic's results fit the model?" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "beside the model" in drawn.read_text(encoding="utf-8")
    assert main(["clinic", "drift", str(profile), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"]


def test_an_altered_profile_is_refused(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile.write_text(profile.read_text().replace('"Ours"', '"Theirs"'), encoding="utf-8")
    assert main([*BASE, "--clinic", str(profile)]) == 4
    assert "altered" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named_as_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = _written(tmp_path, "Q1,3,6,6,self,all_treated,10,4,2\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert main(["clinic", "update", "--counts", str(counts), "--out", str(folder)]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"cannot use {folder}: " in last
    assert "check the path" in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.csv", "folder"]


def test_faulty_counts_are_refused_row_by_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = _written(tmp_path, "Q1,3,6,6,unknown,all_treated,10,12,4\n")
    out = str(tmp_path / "clinic.json")
    assert main(["clinic", "update", "--counts", str(counts), "--out", out]) == 2
    assert "unknown" in capsys.readouterr().err
    assert not Path(out).exists()
