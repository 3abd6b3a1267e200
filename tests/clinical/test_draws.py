"""Draws on disk: exact round trip, no pickle, damage refused."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ketacast.clinical.artifact import DRAWS_NAME, Artifact, load_artifact
from ketacast.clinical.draws import coding_of, draws_to_bytes, load_beside, load_draws
from ketacast.errors import ArtifactError
from ketacast.numerics.hierarchical import EqualDraws

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"


def made_up(n: int = 256) -> EqualDraws:
    rng = np.random.default_rng(1)
    return EqualDraws(
        beta=rng.normal(size=(n, 8)), tau=rng.uniform(size=(n, 3)), scores=rng.normal(size=(n, 3))
    )


def written(directory: Path, raw: bytes, count: int = 256) -> Artifact:
    (directory / DRAWS_NAME).write_bytes(raw)
    draws = {"sha256": hashlib.sha256(raw).hexdigest(), "count": count}
    return Artifact(directory=directory, sha256="", content={"draws": draws})


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_round_trip_is_exact(tmp_path: Path) -> None:
    draws = made_up()
    raw = draws_to_bytes(draws)
    assert raw == draws_to_bytes(made_up())
    found = load_draws(written(tmp_path, raw))
    for name in ("beta", "tau", "scores"):
        array = getattr(found, name)
        assert array.tobytes() == getattr(draws, name).tobytes()
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1.0


def test_the_archive_holds_plain_arrays_only() -> None:
    with zipfile.ZipFile(MODEL / DRAWS_NAME) as stored:
        own = {"beta.npy", "scores.npy", "tau.npy", "propensity.npy"}
        others = {name for name in stored.namelist() if name.startswith("relapse_")}
        assert set(stored.namelist()) == own | others
        assert len(others) == 6
    with np.load(MODEL / DRAWS_NAME, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.float64 for name in arrays)


def test_committed_draws() -> None:
    artifact = load_artifact(MODEL)
    draws, content = load_draws(artifact), artifact.content
    mean = np.array([entry["mean"] for entry in content["coefficients"]])
    sd = np.array([entry["sd"] for entry in content["coefficients"]])
    # Moved to the exact moments when drawn; the artifact keeps ten decimals.
    np.testing.assert_allclose(draws.beta.mean(axis=0), mean[:8], atol=1e-9)
    np.testing.assert_allclose(draws.beta.std(axis=0), sd[:8], atol=1e-9)
    assert np.all(draws.tau > 0)
    np.testing.assert_allclose(draws.scores.mean(axis=0), 0.0, atol=1e-9)
    coding = coding_of(artifact)
    assert (coding.reference_infusions, coding.plateau_infusions) == (6.0, 8)
    assert coding.reference_failed_trials == 6.0


good = made_up()
BAD: list[bytes] = [
    b"",
    b"PK\x03\x04",
    b"not an archive",
    draws_to_bytes(good)[:-40],
    draws_to_bytes(good)[:2000],
    archive(beta=good.beta, tau=good.tau),
    archive(beta=good.beta[:, :7], tau=good.tau, scores=good.scores),
    archive(beta=good.beta[:255], tau=good.tau, scores=good.scores),
    archive(beta=good.beta.astype(np.float32), tau=good.tau, scores=good.scores),
    archive(beta=np.full((256, 8), np.nan), tau=good.tau, scores=good.scores),
    archive(beta=good.beta, tau=np.full((256, 3), np.inf), scores=good.scores),
    archive(beta=good.beta.astype(object), tau=good.tau, scores=good.scores),
]


@pytest.mark.parametrize("raw", BAD, ids=[str(i) for i in range(len(BAD))])
def test_damaged_archives_are_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ArtifactError):
        load_draws(written(tmp_path, raw))


def test_another_digest_or_count_is_refused(tmp_path: Path) -> None:
    artifact = written(tmp_path, draws_to_bytes(good))
    with pytest.raises(ArtifactError):
        load_draws(written(tmp_path, draws_to_bytes(good), count=512))
    swapped = replace(artifact, content={"draws": {"sha256": "0" * 64, "count": 256}})
    with pytest.raises(ArtifactError, match="does not belong"):
        load_draws(swapped)


def test_values_beside_the_draws_have_one_value_each(tmp_path: Path) -> None:
    draws = made_up()
    values = np.linspace(0.0, 1.0, draws.beta.shape[0])
    found = load_beside(written(tmp_path, draws_to_bytes(draws, {"propensity": values})))
    assert found["propensity"].tobytes() == values.tobytes()
    raw = draws_to_bytes(draws, {"propensity": values[1:]})
    with pytest.raises(ArtifactError, match="propensity has shape"):
        load_beside(written(tmp_path, raw))
