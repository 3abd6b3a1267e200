"""A profile's draws: to text and back."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ketacast.clinical.artifact import Artifact
from ketacast.clinical.draws import load_draws
from ketacast.errors import ArtifactError
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.updating.profile import Clinic

_WIDTHS: Final = {"beta": 8, "tau": 3, "scores": 3, "weight": 1}


@dataclass(frozen=True, slots=True)
class ClinicDraws:
    """Draws of the model for one clinic.

    Attributes
    ----------
    draws : EqualDraws
        With the clinic's own scores: its effects u, v, ub are ``tau * scores``.
    weight : (n,) float array or None
        Weights that sum to 1; None where all draws count alike.
    """

    draws: EqualDraws
    weight: Float | None


def reweighted_text(scores: Float, weight: Float) -> dict[str, Any]:
    """Store what differs from the model's own draws."""
    return {"count": weight.size, "scores": _text(scores), "weight": _text(weight)}


def refitted_text(draws: EqualDraws) -> dict[str, Any]:
    """Store draws of the clinic's own posterior."""
    return {
        "count": draws.beta.shape[0],
        "beta": _text(draws.beta),
        "tau": _text(draws.tau),
        "scores": _text(draws.scores),
    }


def clinic_draws(artifact: Artifact, clinic: Clinic) -> ClinicDraws:
    """Draws behind a profile's numbers.

    Parameters
    ----------
    artifact : Artifact
        The model the profile belongs to.
    clinic : Clinic
        The profile.

    Returns
    -------
    ClinicDraws
        Without counts, the model's own draws.

    Raises
    ------
    ArtifactError
        If the profile belongs to another model or its draws are damaged.
    """
    clinic.check_model(artifact)
    stored = clinic.content["draws"]
    if stored is None:
        return ClinicDraws(load_draws(artifact), None)
    if clinic.method == "refitted":
        arrays = {
            name: _array(name, stored["count"], stored[name]) for name in ("beta", "tau", "scores")
        }
        return ClinicDraws(EqualDraws(**arrays), None)
    base = load_draws(artifact)
    count = base.beta.shape[0]
    scores = _array("scores", count, stored["scores"])
    weight = _array("weight", count, stored["weight"])[:, 0]
    return ClinicDraws(EqualDraws(base.beta, base.tau, scores), weight)


def _text(values: Float) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode("ascii")


@lru_cache(maxsize=16)
def _array(name: str, count: int, text: str) -> Float:
    shape = (count, _WIDTHS[name])
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
        # Columns are read one by one: keep each in one piece.
        array = np.asfortranarray(flat.reshape(shape).astype(np.float64))
    except (binascii.Error, ValueError) as error:
        raise ArtifactError(
            f"the clinic profile's {name} cannot be read as {shape} numbers ({error}); write it "
            "again from its counts: `ketacast clinic update --counts FILE.csv`"
        ) from error
    good = np.isfinite(array).all() and (name != "weight" or array.min() >= 0.0)
    if not good:
        raise ArtifactError(
            f"the clinic profile's {name} holds a value that cannot be; write it again from its "
            "counts: `ketacast clinic update --counts FILE.csv`"
        )
    array.setflags(write=False)
    return array
