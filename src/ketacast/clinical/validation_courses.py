"""Validation of what the model holds beyond the rates, as plain records."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ketacast.clinical.course_study import midcourse_study
from ketacast.clinical.course_study_checks import check_dynamics
from ketacast.clinical.durability_fit import check_durability
from ketacast.clinical.durability_rules import DurabilityRules, DurabilityVariant
from ketacast.clinical.dynamics import fit_dynamics
from ketacast.clinical.fit import fit_model
from ketacast.clinical.parallel import Progress
from ketacast.clinical.recipe import Recipe
from ketacast.evidence import Evidence


def course_sections(
    evidence: Evidence,
    recipe: Recipe,
    *,
    courses: int | None,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check the course dynamics and the time in response.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The model.
    courses : int or None
        Simulated courses per scenario; None for no simulation.
    n_jobs : int
        Processes; the result does not depend on it.
    progress : callable, optional
        Told the stage, pieces done and their number.

    Returns
    -------
    dict
        ``midcourse`` (one record per scenario), ``dynamics_check`` and
        ``durability_sensitivity`` (the base first), as far as the recipe has them.

    Raises
    ------
    RecipeError, InputError, ConvergenceError
        If an input is not usable or a fit fails.
    """
    found: dict[str, Any] = {}
    if recipe.dynamics is not None:
        model, dynamics = fit_model(evidence, recipe), fit_dynamics(evidence, recipe.dynamics)
        if courses is not None:
            studies = midcourse_study(
                model, dynamics, courses=courses, n_jobs=n_jobs, progress=progress
            )
            found["midcourse"] = [one.to_dict() for one in studies]
        check = check_dynamics(model, dynamics, n_jobs=n_jobs, progress=progress)
        found["dynamics_check"] = check.to_dict()
    if recipe.durability is not None:
        checks = check_durability(evidence, _with_base(recipe.durability), recipe.draws)
        found["durability_sensitivity"] = [asdict(one) for one in checks]
    return found


def _with_base(rules: DurabilityRules) -> DurabilityRules:
    """Put the base analysis first among the sensitivity analyses."""
    base = DurabilityVariant(
        name="base",
        title="The model itself",
        add=(),
        drop=(),
        assumed_n={},
        prior=rules.prior,
    )
    return replace(rules, sensitivity=(base, *rules.sensitivity))
