"""Evidence and recipe to a fitted model, and from there to an artifact on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.artifact import (
    ARTIFACT_NAME,
    BLANK_DIGEST,
    DIGITS,
    DRAWS_NAME,
    SCHEMA_VERSION,
    digest_of,
)
from ketacast.clinical.course_parts import build_course_parts
from ketacast.clinical.draws import draws_to_bytes
from ketacast.clinical.quantile_error import best_draws
from ketacast.clinical.rates import Coding, components, mixture_rates, summarise
from ketacast.clinical.recipe import COEFFICIENTS, MEANINGS, TAUS, Recipe
from ketacast.clinical.rows import (
    Basis,
    LikelihoodRow,
    basis,
    likelihood_rows,
    to_arrays,
    to_priors,
)
from ketacast.evidence import Evidence
from ketacast.numerics.hierarchical import EqualDraws, Posterior, equal_draws, fit_posterior
from ketacast.options import OUTCOMES, RATERS
from ketacast.version import __version__

TABLE_LEVELS: Final = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fit of the clinical model.

    Attributes
    ----------
    recipe : Recipe
        What was fitted.
    evidence : Evidence
        The evidence tables.
    rows : tuple of LikelihoodRow
        Likelihood rows.
    basis : Basis
        Cohorts (families), patients, rows.
    posterior : Posterior
        Weighted posterior points.
    draws : EqualDraws
        Equally weighted draws with new-clinic scores.
    """

    recipe: Recipe
    evidence: Evidence
    rows: tuple[LikelihoodRow, ...]
    basis: Basis
    posterior: Posterior
    draws: EqualDraws

    @property
    def coding(self) -> Coding:
        """Covariate coding of the recipe."""
        rules = self.recipe.data
        return Coding(
            rules.reference_infusions, rules.plateau_infusions, rules.reference_failed_trials
        )


def fit_model(evidence: Evidence, recipe: Recipe) -> FittedModel:
    """Fit the clinical model.

    Parameters
    ----------
    evidence : Evidence
        Checked evidence.
    recipe : Recipe
        Rows, terms and priors.

    Returns
    -------
    FittedModel

    Raises
    ------
    RecipeError
        If recipe and evidence do not fit together.
    ConvergenceError
        If the posterior cannot be computed.
    """
    rows = likelihood_rows(evidence, recipe)
    posterior = fit_posterior(to_arrays(rows, recipe), to_priors(evidence, recipe), recipe.points)
    return FittedModel(
        recipe=recipe,
        evidence=evidence,
        rows=rows,
        basis=basis(rows),
        posterior=posterior,
        draws=equal_draws(posterior, recipe.draws),
    )


def build_table(model: FittedModel) -> dict[str, Any]:
    """Compute all point predictions from the draws, as stored in the artifact."""
    low, high = model.recipe.support.failed_trials_answered
    trials = list(range(low, high + 1))
    infusions = list(range(1, model.recipe.data.plateau_infusions + 1))
    values: dict[str, list[Any]] = {outcome: [] for outcome in OUTCOMES}
    for count in trials:
        by_infusions: dict[str, list[Any]] = {outcome: [] for outcome in OUTCOMES}
        for number in infusions:
            by_rater: dict[str, list[Any]] = {outcome: [] for outcome in OUTCOMES}
            for rater in RATERS:
                average, new = mixture_rates(
                    model.draws, model.coding, components([count], rater), number
                )
                for outcome in OUTCOMES:
                    cell = summarise(getattr(average, outcome), getattr(new, outcome), TABLE_LEVELS)
                    by_rater[outcome].append([round(value, DIGITS) for value in cell])
            for outcome in OUTCOMES:
                by_infusions[outcome].append(by_rater[outcome])
        for outcome in OUTCOMES:
            values[outcome].append(by_infusions[outcome])
    bounds = [f"{kind} {level} {side}" for kind in ("average_clinic", "new_clinic")
              for level in TABLE_LEVELS for side in ("low", "high")]  # fmt: skip
    return {
        "failed_trials": trials,
        "infusions": infusions,
        "raters": list(RATERS),
        "levels": list(TABLE_LEVELS),
        "columns": ["expected", "median", *bounds],
        "values": values,
    }


def _rounded(array: NDArray[np.float64]) -> list[Any]:
    result: list[Any] = np.round(array, DIGITS).tolist()
    return result


def _coefficients(model: FittedModel) -> list[dict[str, Any]]:
    names = (*COEFFICIENTS, *TAUS)
    mean, sd = model.posterior.mean(), model.posterior.sd()
    bounds = model.posterior.quantile(np.array([0.025, 0.975]))
    return [
        {
            "name": name,
            "meaning": MEANINGS[name],
            "mean": round(float(mean[i]), DIGITS),
            "sd": round(float(sd[i]), DIGITS),
            "interval_95": _rounded(bounds[:, i]),
        }
        for i, name in enumerate(names)
    ]


def artifact_content(model: FittedModel, draws_sha256: str, error: float) -> dict[str, Any]:
    """Assemble the artifact document (with a blank digest); `error` is that of the draws."""
    posterior, recipe = model.posterior, model.recipe
    tau2 = posterior.weight @ posterior.tau**2
    return {
        "schema_version": SCHEMA_VERSION,
        "sha256": BLANK_DIGEST,
        "model": {
            "name": recipe.name,
            "version": recipe.version,
            "title": recipe.title,
            "code_version": __version__,
        },
        "evidence": {
            "sha256": model.evidence.sha256,
            "cohorts": model.basis.cohorts,
            "patients": model.basis.patients,
            "rows": model.basis.rows,
        },
        "recipe": {"sha256": recipe.sha256},
        "draws": {
            "file": DRAWS_NAME,
            "sha256": draws_sha256,
            "count": recipe.draws,
            "quantile_error": round(error, DIGITS),
        },
        "diagnostics": {"effective_fraction": round(posterior.effective_fraction, DIGITS)},
        "coding": {name: getattr(model.coding, name) for name in Coding.__slots__},
        "support": {
            name: list(getattr(recipe.support, name)) for name in type(recipe.support).__slots__
        },
        "coefficients": _coefficients(model),
        "covariance": {
            "names": [*COEFFICIENTS, *TAUS],
            "values": _rounded(posterior.covariance()),
        },
        "between_cohort_variances": {
            name: round(float(tau2[i]), DIGITS) for i, name in enumerate(TAUS)
        },
        "table": build_table(model),
    }


def artifact_bytes(model: FittedModel) -> tuple[bytes, bytes]:
    """Serialise a fitted model, with the closest set of draws.

    Returns
    -------
    artifact, draws : bytes
        Contents of ``artifact.json`` and ``draws.npz``.
    """
    chosen, error = best_draws(model.posterior, model.recipe, model.coding)
    model = replace(model, draws=chosen)
    parts = build_course_parts(model.evidence, model.recipe, chosen)
    draws = draws_to_bytes(chosen, parts.arrays())
    content = artifact_content(model, hashlib.sha256(draws).hexdigest(), error)
    content |= parts.sections()
    raw = (_dump(content) + "\n").encode("utf-8")
    # The document's own digest is its first "sha256" entry.
    return raw.replace(BLANK_DIGEST.encode(), digest_of(raw).encode(), 1), draws


def _dump(content: dict[str, Any]) -> str:
    """JSON with a line per section and per table cell row: compact, yet it diffs."""
    parts = []
    for key, value in content.items():
        if key == "table":
            cells = {
                outcome: "[\n   " + ",\n   ".join(
                    json.dumps(by_trials, allow_nan=False) for by_trials in by_outcome
                ) + "]"
                for outcome, by_outcome in value["values"].items()
            }  # fmt: skip
            heads = [
                f"  {json.dumps(name)}: {json.dumps(entry, allow_nan=False)}"
                for name, entry in value.items()
                if name != "values"
            ]
            bodies = ",\n".join(f"   {json.dumps(name)}: {text}" for name, text in cells.items())
            parts.append(
                '"table": {\n' + ",\n".join([*heads, '  "values": {\n' + bodies + "}"]) + "}"
            )
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def write_model(model: FittedModel, directory: Path | str) -> tuple[Path, Path]:
    """Write ``draws.npz`` and ``artifact.json``; each file appears whole or not at all.

    Parameters
    ----------
    model : FittedModel
        What to write.
    directory : path
        Made if it does not exist.

    Returns
    -------
    artifact, draws : Path
    """
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    artifact, draws = artifact_bytes(model)
    # The draws first: a crash in between leaves a pair that loading refuses.
    for name, content in ((DRAWS_NAME, draws), (ARTIFACT_NAME, artifact)):
        write_atomically(target / name, content)
    return target / ARTIFACT_NAME, target / DRAWS_NAME


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there in one step.

    Raises
    ------
    OSError
        If that is not possible; it names `path`, not the file beside it.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
