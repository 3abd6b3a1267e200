"""The wheel, installed elsewhere, answers the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import ketacast

ROOT = Path(__file__).parent.parent


def test_an_installed_wheel_answers_like_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("ketacast-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # Without dependencies: a point prediction needs none, and no network is used.
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
    )
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    arguments = ["--failed-trials", "5", "--infusions", "8", "--rated-by", "unknown", "--json"]
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "ketacast", "predict", *arguments],
        cwd=elsewhere,
        check=True,
        capture_output=True,
        text=True,
    )
    expected = ketacast.predict(failed_trials=5, infusions=8, rated_by="unknown").to_dict()
    assert json.loads(done.stdout) == expected
