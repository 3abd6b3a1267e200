"""Posterior draws on disk: a plain NumPy archive, no pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.artifact import Artifact, check_draws
from ketacast.clinical.rates import Coding
from ketacast.errors import ArtifactError
from ketacast.numerics.draws import EqualDraws

Float = NDArray[np.float64]


_WIDTHS: Final = {"beta": 8, "tau": 3, "scores": 3}


def draws_to_bytes(draws: EqualDraws, beside: Mapping[str, Float] | None = None) -> bytes:
    """Serialise draws; the same draws give the same bytes.

    Parameters
    ----------
    draws : EqualDraws
    beside : mapping of str to (n,) float array, optional
        Further values of each draw, by name.
    """
    buffer = io.BytesIO()
    arrays = {"beta": draws.beta, "tau": draws.tau, "scores": draws.scores, **(beside or {})}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


@lru_cache(maxsize=4)
def _from_bytes(raw: bytes, count: int) -> tuple[EqualDraws, Mapping[str, Float]]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        drawn = {name: arrays.pop(name) for name in _WIDTHS}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"draws.npz cannot be read ({error}); rebuild with `ketacast fit --out DIR`"
        ) from error
    shapes = {name: (count, width) for name, width in _WIDTHS.items()}
    for name, array in (drawn | arrays).items():
        shape = shapes.get(name, (count,))
        if array.shape != shape or array.dtype != np.float64:
            raise ArtifactError(f"draws.npz: {name} has shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise ArtifactError(f"draws.npz: {name} has a value that is not finite")
        array.setflags(write=False)
    # Columns are read one by one: keep each in one piece.
    columns = {name: np.asfortranarray(array) for name, array in drawn.items()}
    for array in columns.values():
        array.setflags(write=False)
    return EqualDraws(**columns), arrays


def load_draws(artifact: Artifact) -> EqualDraws:
    """Read the draws that belong to an artifact.

    Raises
    ------
    ArtifactError
        If the file is missing, altered or damaged.
    """
    return _from_bytes(check_draws(artifact), artifact.content["draws"]["count"])[0]


def load_beside(artifact: Artifact) -> Mapping[str, Float]:
    """Read the further values of each draw, by name, shape (n,) each.

    Raises
    ------
    ArtifactError
        As for :func:`load_draws`.
    """
    return _from_bytes(check_draws(artifact), artifact.content["draws"]["count"])[1]


def coding_of(artifact: Artifact) -> Coding:
    """Covariate coding recorded in an artifact."""
    coding = artifact.content["coding"]
    return Coding(
        reference_infusions=float(coding["reference_infusions"]),
        plateau_infusions=int(coding["plateau_infusions"]),
        reference_failed_trials=float(coding["reference_failed_trials"]),
    )
