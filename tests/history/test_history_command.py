"""``ketacast history count``."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import ketacast
from ketacast.cli import main

Record = dict[str, Any]
Build = Callable[[list[Record]], list[Record]]

PATIENTS = Path(__file__).parent / "patients"
TABLE = """\
drug,dose_mg,start,end
sertraline,100,2025-01-10,2025-06-30
venlafaxine,225,2025-07,2026-02
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "treatments.csv"
    path.write_text(TABLE, encoding="utf-8")
    return str(path)


def test_a_chart_is_counted_and_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["history", "count", str(PATIENTS / "patrica_skiles.json"), "--as-of", "2026-11-01"]
    )
    shown = capsys.readouterr().out
    assert code == 0
    assert "current episode   0 to 3" in shown
    assert "6 infusions are assumed" in shown
    assert "rated by unknown" in shown
    assert "0 to 3 failed trials, 6 infusions, rater unknown" in shown


def test_the_json_holds_count_and_prediction(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--table", table, "--as-of", "2026-06-01", "--json"]
    assert main(["history", "count", *arguments, "--infusions", "8", "--rated-by", "self"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["history"]["failed_trials"] == {"min": 2, "max": 2}
    assert content["assumed"] == []
    expected = ketacast.predict(failed_trials=(2, 2), infusions=8, rated_by="self")
    assert content["prediction"] == expected.to_dict()


def test_the_own_count_is_predicted_from(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["history", "count", "--table", table, "--as-of", "2026-06-01"]
    assert main([*arguments, "--own-count", "4-6", "--rated-by", "clinician"]) == 0
    shown = capsys.readouterr().out
    assert "4 to 6 failed trials, 6 infusions, clinician-rated" in shown
    assert "the clinician's own count" in shown


def test_without_a_treatment_nothing_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(PATIENTS / "eboni_brekke.json")
    assert main(["history", "count", path, "--as-of", "2026-11-01"]) == 0
    assert "No prediction" in capsys.readouterr().out
    assert main(["history", "count", path, "--as-of", "2026-11-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prediction"] is None
    assert main(["history", "count", path, "--as-of", "2026-11-01", "--own-count", "5"]) == 0
    assert "5 failed trials" in capsys.readouterr().out


def test_the_chart_may_say_who_rates(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = build([{"is": "statement", "drug": "sertraline", "mg": 100, "start": "2026-01-01",
                      "end": "2026-05-20"}])  # fmt: skip
    records.append(
        {
            "resourceType": "Observation",
            "id": "o",
            "status": "final",
            "code": {"text": "MADRS"},
            "effectiveDateTime": "2026-05-01",
        }
    )
    path = tmp_path / "list.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    arguments = ["history", "count", str(path), "--as-of", "2026-06-01"]
    assert main([*arguments, "--rated-by", "chart"]) == 0
    shown = capsys.readouterr().out
    assert "clinician-rated" in shown
    assert "the latest score is MADRS (2026-05)" in shown


def test_several_files_are_one_chart(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for place, drug in enumerate(("sertraline", "fluoxetine")):
        spec = {"is": "statement", "id": place, "drug": drug, "mg": 100, "start": "2026-01-01",
                "end": "2026-05-20"}  # fmt: skip
        path = tmp_path / f"{drug}.json"
        path.write_text(json.dumps(build([spec])[0]), encoding="utf-8")
        paths.append(str(path))
    assert main(["history", "count", *paths, "--as-of", "2026-06-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"]["lifetime"]["low"] == 2


def test_today_is_the_index_date(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = date.today().isoformat()
    assert main(["history", "count", "--table", table, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["history"]["as_of"]
    assert before <= shown <= date.today().isoformat()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "give FHIR files, or --table"),
        (["none.json"], "give a FHIR JSON file"),
        (["--table", "none.csv"], "give a CSV file"),
        (["BAD"], "is not JSON"),
        (["NUMBER"], "holds int"),
        (["TABLE", "--as-of", "2026"], "as_of is '2026'"),
        (["TABLE", "--own-count", "6-4"], "own_count is '6-4'"),
        (["TABLE", "--rules", "none.toml"], "give a TOML file"),
        (["TABLE", "--rated-by", "doctor"], "--rated-by is 'doctor'"),
        (["TABLE", "--infusions", "99", "--as-of", "2026-06-01"], "infusions is 99"),
        (["x.json", "TABLE"], "give FHIR files, or --table"),
    ],
)
def test_wrong_input_ends_with_code_2(
    arguments: list[str], named: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("BAD", "{"), ("NUMBER", "7")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    given: list[str] = []
    for argument in arguments:
        if argument == "TABLE":
            given += ["--table", table]
        else:
            given.append(str(tmp_path / argument) if argument in ("BAD", "NUMBER") else argument)
    assert main(["history", "count", *given]) == 2
    assert named in capsys.readouterr().err


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["history", "count", "--help"])
    assert done.value.code == 0
    assert "ketacast history count bundle.json" in capsys.readouterr().out


def test_rules_from_a_file(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("strict_weeks = 30\nusual_weeks = 30\nlenient_weeks = 30\n", encoding="utf-8")
    arguments = ["--table", table, "--as-of", "2026-06-01", "--json", "--rules", str(rules)]
    assert main(["history", "count", *arguments]) == 0
    history = json.loads(capsys.readouterr().out)["history"]
    assert history["current_episode"] == {"low": 0, "high": 1, "usual": 0}
    assert history["rules"]["strict_weeks"] == 30
