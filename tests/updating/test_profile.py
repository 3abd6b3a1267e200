"""The profile: zero data, order, tampering, another model, answers."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.clinical.artifact import digest_of, load_artifact
from ketacast.errors import ArtifactError, InputError
from ketacast.options import RATERS
from ketacast.predictor import Predictor
from ketacast.updating import Batch, Cell, Clinic, answer_for_clinic, load_clinic, update_clinic
from ketacast.updating.counts_file import COLUMNS
from ketacast.updating.profile import parse_clinic
from ketacast.updating.stored import clinic_draws

ARTIFACT = load_artifact()
#: A profile is read by every prediction that uses it.
LARGEST_FILE = 1_000_000

SMALL = (
    Batch("2026-Q1", (Cell((4, 8), 6, "self", "all_treated", 12, 5, 2),)),
    Batch("2026-Q2", (Cell((2, 3), 9, "clinician", "all_treated", 8, 6, None),)),
)
LARGE = (
    Batch("2026-Q1", (Cell((4, 8), 6, "self", "all_treated", 300, 100, 50),)),
    Batch("2026-Q2", (Cell((0, 3), 6, "clinician", "completers", 200, 130, 80),)),
)


@lru_cache
def profile(batches: tuple[Batch, ...]) -> Clinic:
    return update_clinic(ARTIFACT, batches)


def everything(clinic: Clinic) -> dict[str, object]:
    """The profile but for its history, and so its digest."""
    return {k: v for k, v in clinic.content.items() if k not in ("batches", "sha256")}


def signed(content: dict[str, object]) -> bytes:
    """A document with a digest of its own, whatever it says."""
    raw = json.dumps({"sha256": "0" * 64, **{k: v for k, v in content.items() if k != "sha256"}})
    return raw.replace("0" * 64, digest_of(raw.encode()), 1).encode()


@pytest.mark.parametrize("rater", RATERS)
@pytest.mark.parametrize("trials", [(0, 0), (6, 6), (20, 20), (3, 7)])
@pytest.mark.parametrize("levels", [(0.8, 0.95), (0.6, 0.9)])
def test_without_counts_it_answers_as_the_new_clinic_bit_for_bit(
    rater: str, trials: tuple[int, int], levels: tuple[float, float]
) -> None:
    clinic = profile(())
    model = Predictor(ARTIFACT)
    for infusions in (1, 6, 8, 12):
        found = answer_for_clinic(
            ARTIFACT,
            clinic,
            failed_trials=trials,
            infusions=infusions,
            rated_by=rater,  # type: ignore[arg-type]
            levels=levels,
        )
        known = model.predict(trials, infusions, rater, levels)  # type: ignore[arg-type]
        for outcome in ("response", "remission"):
            ours, theirs = getattr(found, outcome), getattr(known, outcome)
            assert ours.expected == theirs.expected
            assert ours.median == theirs.median
            assert ours.this_clinic == theirs.new_clinic


def test_counts_of_no_patient_are_no_counts() -> None:
    nobody = Batch("2026-Q1", (Cell((4, 8), 6, "self", "all_treated", 0, 0, 0),))
    assert everything(update_clinic(ARTIFACT, [nobody])) == everything(profile(()))


@pytest.mark.parametrize(("batches", "method"), [(SMALL, "reweighted"), (LARGE, "refitted")])
def test_a_profile_survives_its_file(
    batches: tuple[Batch, ...], method: str, tmp_path: Path
) -> None:
    clinic = profile(batches)
    path = tmp_path / "clinic.json"
    path.write_text(clinic.to_json(), encoding="utf-8")
    assert path.stat().st_size < LARGEST_FILE
    loaded = load_clinic(path)
    assert loaded == clinic
    assert loaded.to_json() == clinic.to_json()
    assert (loaded.method, loaded.n) == (method, sum(batch.n for batch in batches))
    assert update_clinic(ARTIFACT, batches).to_json() == clinic.to_json()


def test_table_and_draws_answer_alike() -> None:
    for batches in (SMALL, LARGE):
        clinic = profile(batches)
        for rater in RATERS:
            point, with_more = (
                answer_for_clinic(
                    ARTIFACT, clinic, failed_trials=(5, 5), infusions=4, rated_by=rater, levels=some
                )
                for some in ((0.8,), (0.7, 0.8))
            )
            for outcome in ("response", "remission"):
                one, other = getattr(point, outcome), getattr(with_more, outcome)
                assert (one.expected, one.median) == (other.expected, other.median)
                assert one.this_clinic[0.8] == other.this_clinic[0.8]


def test_a_refitted_profile_holds_the_clinics_own_draws() -> None:
    own = clinic_draws(ARTIFACT, profile(LARGE))
    assert own.weight is None
    assert own.draws.beta.shape == (4096, 8)
    kept = clinic_draws(ARTIFACT, profile(SMALL))
    assert kept.weight is not None
    assert kept.weight.sum() == pytest.approx(1.0, abs=1e-12)
    # u of the refitted clinic is known better than that of one not yet seen.
    assert (own.draws.tau * own.draws.scores)[:, 0].std() < 0.5


@settings(max_examples=4, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=2, max_size=5).flatmap(
        lambda counts: st.tuples(st.just(counts), st.permutations(counts))
    )
)
def test_order_and_batching_change_no_byte_but_the_history(
    pair: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    def batches(counts: list[tuple[int, int]]) -> list[Batch]:
        return [
            Batch(
                f"b{i}",
                (Cell((3 * kind, 3 * kind + 2), 6, "self", "all_treated", 6, found, found // 2),),
            )
            for i, (found, kind) in enumerate(counts)
        ]

    first, second = pair
    at_once = update_clinic(ARTIFACT, batches(first))
    in_steps = update_clinic(ARTIFACT, batches(second)[:1])
    in_steps = update_clinic(ARTIFACT, batches(second)[1:], in_steps)
    assert everything(in_steps) == everything(at_once)
    together = Batch("all", tuple(cell for batch in in_steps.batches for cell in batch.cells))
    assert everything(update_clinic(ARTIFACT, [together])) == everything(at_once)


def test_a_profile_is_updated_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(
        ",".join(COLUMNS) + "\n2026-Q1,4,8,6,self,all_treated,12,5,2\n", encoding="utf-8"
    )
    clinic = update_clinic(None, path, label="Day unit")
    assert clinic.batches == SMALL[:1]
    later = update_clinic(ARTIFACT, SMALL[1:], clinic)
    assert later.label == "Day unit"
    assert everything(later) == {**everything(profile(SMALL)), "label": "Day unit"}
    with pytest.raises(InputError, match="counted in the profile already"):
        update_clinic(ARTIFACT, path, clinic)
    assert update_clinic(ARTIFACT, path, clinic, repeated="add").n == 24
    with pytest.raises(InputError, match="label is"):
        update_clinic(ARTIFACT, (), label="a\nb")


def test_an_altered_profile_is_refused(tmp_path: Path) -> None:
    text = profile(SMALL).to_json()
    path = tmp_path / "clinic.json"
    path.write_text(text.replace('"n": 12', '"n": 13'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="was altered"):
        load_clinic(path)
    path.write_text(text[:-40], encoding="utf-8")
    with pytest.raises(ArtifactError, match="not complete JSON"):
        load_clinic(path)
    with pytest.raises(ArtifactError, match="cannot read"):
        load_clinic(tmp_path / "none.json")
    with pytest.raises(ArtifactError, match="not a ketacast clinic profile"):
        parse_clinic(b"{}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"cells": []}, "do not add up"),
        ({"method": "guessed"}, "method is 'guessed'"),
        ({"draws": None}, "do not fit together"),
        ({"table": {}}, "not complete"),
        ({"batches": [{"batch": "2026-03-04", "cells": []}]}, "a day may point"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(change: dict[str, object], said: str) -> None:
    content = {**profile(SMALL).content, **change}
    with pytest.raises(ArtifactError, match=said):
        parse_clinic(signed(content))


def test_values_outside_0_to_1_are_refused() -> None:
    content = json.loads(profile(SMALL).to_json())
    content["table"]["values"]["response"][0][0][0][0] = 1.5
    with pytest.raises(ArtifactError, match="not a probability"):
        parse_clinic(signed(content))


def test_draws_that_cannot_be_are_refused() -> None:
    content = json.loads(profile(SMALL).to_json())
    weights = np.full(4096, -1.0)
    for text, said in (
        ("?", "cannot be read"),
        (base64.b64encode(weights.tobytes()).decode(), "cannot be;"),
    ):
        content["draws"]["weight"] = text
        clinic = parse_clinic(signed(content))
        with pytest.raises(ArtifactError, match=said):
            clinic_draws(ARTIFACT, clinic)


def test_another_model_is_refused_and_the_counts_carry_over(tmp_path: Path) -> None:
    shutil.copytree(ARTIFACT.directory, tmp_path / "model")
    path = tmp_path / "model" / "artifact.json"
    text = path.read_text(encoding="utf-8").replace(
        f'"version": "{ARTIFACT.version}"', '"version": "9.9.9"', 1
    )
    text = text.replace(ARTIFACT.sha256, "0" * 64, 1)
    path.write_text(text.replace("0" * 64, digest_of(text.encode()), 1), encoding="utf-8")
    other = load_artifact(tmp_path / "model")
    clinic = profile(SMALL)
    with pytest.raises(ArtifactError, match=r"the model given is ketamine-trd 9\.9\.9"):
        answer_for_clinic(
            other, clinic, failed_trials=(6, 6), infusions=6, rated_by="self", levels=(0.8,)
        )
    rebuilt = update_clinic(other, (), clinic)
    assert rebuilt.model.version == "9.9.9"
    assert rebuilt.cells == clinic.cells


def test_denominators_are_told() -> None:
    assert [notice.code for notice in profile(LARGE).notices()] == ["denominators_mixed"]
    assert profile(SMALL).notices() == ()
    completers = Batch("2026", (Cell((4, 8), 6, "self", "completers", 12, 5, 2),))
    (notice,) = update_clinic(ARTIFACT, [completers]).notices()
    assert notice.code == "completers_counted"


def test_reading_and_a_point_answer_need_the_standard_library_alone(tmp_path: Path) -> None:
    path = tmp_path / "clinic.json"
    path.write_text(profile(LARGE).to_json(), encoding="utf-8")
    code = (
        "import sys\n"
        "from ketacast.updating import load_clinic, answer_for_clinic\n"
        "from ketacast.clinical.artifact import load_artifact\n"
        f"answer_for_clinic(load_artifact(), load_clinic({str(path)!r}), failed_trials=(6, 6),\n"
        "    infusions=6, rated_by='unknown', levels=(0.8, 0.95))\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
