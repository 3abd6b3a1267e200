"""The files that the numbers of a card come from, read and checked together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ketacast.clinical.artifact import Artifact, default_model_directory, load_artifact
from ketacast.clinical.recipe import Recipe, load_recipe
from ketacast.errors import ArtifactError
from ketacast.evidence import Evidence, load_evidence

VALIDATION_NAME: Final = "validation.json"
VALIDATION_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Sources:
    """Artifact, validation, recipe and evidence of one and the same model."""

    directory: Path
    artifact: Artifact
    validation: Mapping[str, Any]
    recipe: Recipe
    evidence: Evidence


def load_sources(directory: Path | str | None = None) -> Sources:
    """Read the files of a model that a card quotes.

    Parameters
    ----------
    directory : path, optional
        Directory of the model; the model that comes with the package by default.

    Returns
    -------
    Sources

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or if recipe, evidence or validation are
        not those of the artifact.
    EvidenceError, RecipeError
        If the evidence or the recipe is not usable.
    """
    where = default_model_directory() if directory is None else Path(directory)
    artifact = load_artifact(where)
    recipe = load_recipe(where / "recipe.toml")
    evidence = load_evidence(where / "evidence")
    validation = _read_validation(where / VALIDATION_NAME)
    recorded = artifact.content
    for name, found, wanted, remedy in (
        ("recipe.toml", recipe.sha256, recorded["recipe"]["sha256"], "fit"),
        ("evidence", evidence.sha256, recorded["evidence"]["sha256"], "fit"),
        (
            f"recipe of {VALIDATION_NAME}",
            validation.get("recipe_sha256"),
            recorded["recipe"]["sha256"],
            "validate",
        ),
        (
            f"evidence of {VALIDATION_NAME}",
            validation.get("evidence_sha256"),
            recorded["evidence"]["sha256"],
            "validate",
        ),
    ):
        if found != wanted:
            raise ArtifactError(
                f"{where}: the {name} has sha256 {str(found)[:12]}..., the artifact was built "
                f"with {wanted[:12]}...; a card may not mix them: run `ketacast {remedy}`"
            )
    return Sources(where, artifact, validation, recipe, evidence)


def _read_validation(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror}; make it: `ketacast validate --out DIR`"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(
            f"{path} is not complete JSON ({error}); make it again: `ketacast validate --out DIR`"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != VALIDATION_SCHEMA:
        raise ArtifactError(
            f"{path} has schema version {version!r}; this version of ketacast reads "
            f"{VALIDATION_SCHEMA}: make it again: `ketacast validate --out DIR`"
        )
    if not content.get("simulation"):
        raise ArtifactError(
            f"{path} holds no simulated calibration; run `ketacast validate` without --quick"
        )
    found: Mapping[str, Any] = content
    return found
