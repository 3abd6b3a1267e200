"""Validation of the clinical model: everything of docs/validation.md as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ketacast.clinical.calibration import Calibration, CountPrediction, calibrate
from ketacast.clinical.course_study import DEFAULT_COURSES
from ketacast.clinical.crossvalidation import FamilyScore, leave_one_cohort_out
from ketacast.clinical.fit import write_atomically
from ketacast.clinical.parallel import Progress
from ketacast.clinical.proportions import Proportion
from ketacast.clinical.recipe import Recipe
from ketacast.clinical.sensitivity import (
    PublishedComparison,
    Variant,
    compare_published,
    sensitivity,
)
from ketacast.clinical.simulation import (
    DEFAULT_REPLICATES,
    DEFAULT_SEED,
    ParameterCheck,
    SimulationCheck,
    simulation_based_calibration,
)
from ketacast.clinical.validation_courses import course_sections
from ketacast.clinical.validation_summary import (
    Coverage,
    ScoreDifference,
    SingleInfusion,
    coverages,
    score_differences,
    single_infusions,
)
from ketacast.errors import InputError
from ketacast.evidence import Evidence
from ketacast.options import OUTCOMES
from ketacast.version import __version__

VALIDATION_NAME: Final = "validation.json"
SCHEMA_VERSION: Final = 1
SIMULATED: Final = ("midcourse", "updating")
"""Sections that a quick validation keeps from an earlier one, as it keeps the simulation."""

EXTRA: Final = ("updating",)
"""Sections that are made elsewhere and handed over."""

DIGITS: Final = 6
"""Decimals kept: machines agree to 1e-8, and nobody reads more."""


@dataclass(frozen=True, slots=True)
class Validation:
    """All results of ``ketacast validate``.

    Attributes
    ----------
    model, version, code_version : str
        What was validated.
    evidence_sha256, recipe_sha256 : str
        Hashes of its inputs.
    rows, scores
        Leave-one-out predictions and log scores.
    coverage, score_differences, calibration, single_infusion
        Their summaries.
    published : tuple of PublishedComparison
        Beside the anchor review.
    sensitivity : tuple of Variant
        The base first.
    simulation : SimulationCheck or None
        None if it was never run for these inputs.
    further : mapping
        Sections on courses, durability and updating as plain records, by their name
        in ``validation.json``; those that do not apply or were not run are absent.
    """

    model: str
    version: str
    code_version: str
    evidence_sha256: str
    recipe_sha256: str
    rows: tuple[CountPrediction, ...]
    scores: tuple[FamilyScore, ...]
    coverage: tuple[Coverage, ...]
    score_differences: tuple[ScoreDifference, ...]
    calibration: tuple[Calibration, ...]
    single_infusion: tuple[SingleInfusion, ...]
    published: tuple[PublishedComparison, ...]
    sensitivity: tuple[Variant, ...]
    simulation: SimulationCheck | None
    further: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries."""
        content: dict[str, Any] = _plain(asdict(self))
        further = content.pop("further")
        return {"schema_version": SCHEMA_VERSION, **content, **further}


def validate(
    evidence: Evidence,
    recipe: Recipe,
    *,
    quick: bool = False,
    directory: Path | str | None = None,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = DEFAULT_SEED,
    courses: int = DEFAULT_COURSES,
    extra: Mapping[str, Any] | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> Validation:
    """Validate a model.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The model.
    quick : bool
        Leave out the simulations; those kept in `directory` for the same inputs
        are taken, if there are any.
    directory : path, optional
        Where an earlier ``validation.json`` may lie.
    replicates, seed : int
        Of the simulation.
    courses : int
        Simulated courses per scenario.
    extra : mapping, optional
        Further sections as plain records: ``"updating"``, a list with one dictionary
        per scenario of the clinics' coverage study (its ``to_dict()``).
    n_jobs : int
        Processes; the result does not depend on it.
    progress : callable, optional
        Told the stage, pieces done and their number.

    Returns
    -------
    Validation

    Raises
    ------
    InputError, RecipeError, ConvergenceError
        If an input is not usable or a fit fails.
    """
    unknown = sorted(set(extra or {}) - set(EXTRA))
    if unknown:
        raise InputError(f"extra holds {unknown[0]!r}; give sections of {EXTRA}")
    left_out = leave_one_cohort_out(evidence, recipe, progress, n_jobs)
    variants = sensitivity(evidence, recipe, progress, n_jobs)
    identity = {
        "model": recipe.name,
        "version": recipe.version,
        "code_version": __version__,
        "evidence_sha256": evidence.sha256,
        "recipe_sha256": recipe.sha256,
    }
    if not quick:
        simulation: SimulationCheck | None = simulation_based_calibration(
            evidence,
            recipe,
            replicates=replicates,
            seed=seed,
            n_jobs=n_jobs,
            progress=progress,
        )
    else:
        simulation = None if directory is None else kept_simulation(directory, identity)
    further = course_sections(
        evidence, recipe, courses=None if quick else courses, n_jobs=n_jobs, progress=progress
    )
    if quick and directory is not None:
        further = kept_sections(directory, identity) | further
    rows = left_out.rows
    calibrations = [calibrate(rows, outcome) for outcome in OUTCOMES]
    return Validation(
        model=recipe.name,
        version=recipe.version,
        code_version=__version__,
        evidence_sha256=evidence.sha256,
        recipe_sha256=recipe.sha256,
        rows=rows,
        scores=left_out.scores,
        coverage=coverages(rows),
        score_differences=score_differences(left_out),
        calibration=tuple(found for found in calibrations if found is not None),
        single_infusion=single_infusions(rows),
        published=compare_published(evidence, recipe),
        sensitivity=variants,
        simulation=simulation,
        further={**further, **(extra or {})},
    )


def kept_simulation(directory: Path | str, identity: Mapping[str, str]) -> SimulationCheck | None:
    """Read the simulation of an earlier validation of exactly the same inputs.

    Parameters
    ----------
    directory : path
        Where ``validation.json`` may lie.
    identity : mapping
        Model, version, code version and hashes that must agree.

    Returns
    -------
    SimulationCheck or None
        None if there is no such file, it is of other inputs or it has none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    content = _kept(directory, identity)
    try:
        found = content.get("simulation")
        return None if found is None else _simulation(found)
    except (KeyError, TypeError) as error:
        raise _damaged(directory, error) from error


def kept_sections(directory: Path | str, identity: Mapping[str, str]) -> dict[str, Any]:
    """Read the simulated sections of an earlier validation of exactly the same inputs.

    Parameters
    ----------
    directory, identity
        As in :func:`kept_simulation`.

    Returns
    -------
    dict
        Those of ``SIMULATED`` that the file has.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    content = _kept(directory, identity)
    return {name: content[name] for name in SIMULATED if name in content}


def _kept(directory: Path | str, identity: Mapping[str, str]) -> Mapping[str, Any]:
    """Content of an earlier file; empty if there is none or it is of other inputs."""
    path = Path(directory) / VALIDATION_NAME
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = all(content[key] == value for key, value in identity.items())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(directory, error) from error
    return content if same else {}


def _damaged(directory: Path | str, error: Exception) -> InputError:
    path = Path(directory) / VALIDATION_NAME
    return InputError(f"{path} is damaged ({error!r}); remove it or run `ketacast validate`")


def _simulation(content: Mapping[str, Any]) -> SimulationCheck:
    checks = []
    for entry in content["parameters"]:
        bounds = tuple(Proportion(**part) for part in entry["coverage"])
        checks.append(
            ParameterCheck(**{**entry, "coverage": bounds, "positions": tuple(entry["positions"])})
        )
    messages = tuple(content["failure_messages"])
    return SimulationCheck(**{**content, "failure_messages": messages, "parameters": tuple(checks)})


def write_validation(
    validation: Validation, model_directory: Path | str, docs_directory: Path | str | None = None
) -> tuple[Path, ...]:
    """Write ``validation.json``, and the page and figures if `docs_directory` is given.

    Parameters
    ----------
    validation : Validation
        What to write.
    model_directory : path
        Gets ``validation.json``.
    docs_directory : path, optional
        Gets ``validation.md`` and ``images/validation-*.svg``.

    Returns
    -------
    tuple of Path
        Files written; each appears whole or not at all.

    Raises
    ------
    MissingDependencyError
        If figures are asked for and matplotlib is not installed; nothing is
        written then.
    """
    from ketacast.clinical.validation_figures import figures  # noqa: PLC0415 - figures only here
    from ketacast.clinical.validation_text import validation_page  # noqa: PLC0415

    files: dict[Path, bytes] = {}
    files[Path(model_directory) / VALIDATION_NAME] = validation_bytes(validation)
    if docs_directory is not None:
        docs = Path(docs_directory)
        for name, content in figures(validation).items():
            files[docs / "images" / name] = content
        files[docs / "validation.md"] = validation_page(validation).encode("utf-8")
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return tuple(files)


def validation_bytes(validation: Validation) -> bytes:
    """Serialise as JSON, one line per entry of a list, so that it diffs."""
    parts = []
    for key, value in validation.to_dict().items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(entry, allow_nan=False)}" for entry in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return ("{\n " + ",\n ".join(parts) + "\n}\n").encode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value
