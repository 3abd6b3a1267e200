"""Posterior draws on disk: a plain NumPy archive, no pickle."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache

import numpy as np

from ketacast.clinical.artifact import Artifact, check_draws
from ketacast.clinical.rates import Coding
from ketacast.errors import ArtifactError
from ketacast.numerics.draws import EqualDraws


def draws_to_bytes(draws: EqualDraws) -> bytes:
    """Serialise draws; the same draws give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, beta=draws.beta, tau=draws.tau, scores=draws.scores)
    return buffer.getvalue()


@lru_cache(maxsize=4)
def _from_bytes(raw: bytes, count: int) -> EqualDraws:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("beta", "tau", "scores")}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"draws.npz cannot be read ({error}); rebuild with `ketacast fit --out DIR`"
        ) from error
    widths = {"beta": 8, "tau": 3, "scores": 3}
    for name, width in widths.items():
        array = arrays[name]
        if array.shape != (count, width) or array.dtype != np.float64:
            raise ArtifactError(
                f"draws.npz: {name} has shape {array.shape}, expected ({count}, {width})"
            )
        if not np.isfinite(array).all():
            raise ArtifactError(f"draws.npz: {name} has a value that is not finite")
        # Columns are read one by one: keep each in one piece.
        arrays[name] = np.asfortranarray(array)
        arrays[name].setflags(write=False)
    return EqualDraws(**arrays)


def load_draws(artifact: Artifact) -> EqualDraws:
    """Read the draws that belong to an artifact.

    Raises
    ------
    ArtifactError
        If the file is missing, altered or damaged.
    """
    return _from_bytes(check_draws(artifact), artifact.content["draws"]["count"])


def coding_of(artifact: Artifact) -> Coding:
    """Covariate coding recorded in an artifact."""
    coding = artifact.content["coding"]
    return Coding(
        reference_infusions=float(coding["reference_infusions"]),
        plateau_infusions=int(coding["plateau_infusions"]),
        reference_failed_trials=float(coding["reference_failed_trials"]),
    )
