"""What the artifact holds beyond the rates: course dynamics and time in response.

Both come from their own evidence tables and priors (sections ``[dynamics]`` and
``[durability]`` of the recipe) and are built with the artifact; a recipe without a
section makes a model without that part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.artifact import DIGITS, Artifact
from ketacast.clinical.draws import load_beside
from ketacast.clinical.durability import Durability, read_durability
from ketacast.clinical.durability_fit import build_durability
from ketacast.clinical.dynamics import Dynamics, fit_dynamics
from ketacast.clinical.recipe import Recipe
from ketacast.errors import InputError
from ketacast.evidence import Evidence
from ketacast.numerics.draws import EqualDraws

Float = NDArray[np.float64]

PROPENSITY = "propensity"
"""Name of the array with each draw's w."""


@dataclass(frozen=True, slots=True)
class CourseParts:
    """Fitted dynamics and durability; None where the recipe has no such section.

    Attributes
    ----------
    dynamics : Dynamics or None
    durability : Durability or None
    propensity : (n,) float array or None
        w of each draw.
    """

    dynamics: Dynamics | None
    durability: Durability | None
    propensity: Float | None

    def sections(self) -> dict[str, Any]:
        """Sections of the artifact."""
        found: dict[str, Any] = {}
        if self.dynamics is not None:
            found["dynamics"] = rounded(self.dynamics.to_dict())
        if self.durability is not None:
            found["durability"] = rounded(self.durability.to_dict())
        return found

    def arrays(self) -> dict[str, Float]:
        """Arrays stored beside the draws, each with one value per draw."""
        found = {} if self.propensity is None else {PROPENSITY: self.propensity}
        return found if self.durability is None else {**found, **self.durability.arrays()}


def build_course_parts(evidence: Evidence, recipe: Recipe, draws: EqualDraws) -> CourseParts:
    """Fit what the recipe asks for beyond the rates.

    Raises
    ------
    RecipeError
        If the recipe names rows that the evidence does not have or that print no counts.
    ConvergenceError
        If a posterior cannot be computed.
    """
    dynamics = fit_dynamics(evidence, recipe.dynamics) if recipe.dynamics else None
    durability = None
    if recipe.durability:
        durability = build_durability(evidence, recipe.durability, recipe.draws)
    propensity = dynamics.draws(draws) if dynamics else None
    return CourseParts(dynamics, durability, propensity)


def load_durability(artifact: Artifact) -> Durability:
    """Read the time in response that an artifact holds.

    Raises
    ------
    ArtifactError
        If the draws are missing, altered or damaged.
    InputError
        If the model was built without it.
    """
    if "durability" not in artifact.content:
        raise InputError(
            f"the model {artifact.name} {artifact.version} has no time in response; add a "
            "[durability] section to its recipe and fit again"
        )
    return read_durability(artifact.content["durability"], load_beside(artifact))


def rounded(value: Any) -> Any:
    """Round every number to the decimals that the artifact keeps."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return value
