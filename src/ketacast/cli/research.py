"""Commands of researchers: ``synthesis``, ``fit`` and ``validate``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from ketacast.cli.evidence import evidence_directory
from ketacast.clinical.artifact import default_model_directory, load_artifact
from ketacast.clinical.recipe import Recipe, load_recipe
from ketacast.evidence import load_evidence


def recipe_path(given: str | None) -> Path:
    """Return the recipe asked for, else that of the package's model."""
    return Path(given) if given else default_model_directory() / "recipe.toml"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def synthesis(options: argparse.Namespace) -> int:
    """Run ``ketacast synthesis``."""
    from ketacast.clinical.synthesis import synthesise  # noqa: PLC0415  # NumPy
    from ketacast.clinical.synthesis_text import synthesis_lines  # noqa: PLC0415

    result = synthesise(load_evidence(evidence_directory(options.evidence)))
    if options.json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        print(
            "\n".join(
                synthesis_lines(result, max(80, min(shutil.get_terminal_size().columns, 100)))
            )
        )
    return 0


def fit(options: argparse.Namespace) -> int:
    """Run ``ketacast fit``."""
    evidence_at, recipe_at = evidence_directory(options.evidence), recipe_path(options.recipe)
    evidence, recipe = load_evidence(evidence_at), load_recipe(recipe_at)
    from ketacast.clinical.fit import fit_model, write_model  # noqa: PLC0415  # NumPy, SciPy

    start = time.perf_counter()
    _say(f"fitting {recipe.name} {recipe.version} on {evidence_at}")
    model = fit_model(evidence, recipe)
    _say(
        f"fitted in {time.perf_counter() - start:.1f} s: {model.basis.cohorts} cohorts, "
        f"{model.basis.patients:,} patients, {model.basis.rows} rows; "
        "choosing draws and computing the table (about 15 s)"
    )
    artifact, draws = write_model(model, options.out)
    load_artifact.cache_clear()
    written = load_artifact(artifact.parent)
    print(f"{artifact} and {draws.name}")
    print(f"sha256 {written.sha256}")
    print(f"largest quantile error of the draws {written.content['draws']['quantile_error']:.4f}")
    return 0


def validate(options: argparse.Namespace) -> int:
    """Run ``ketacast validate``."""
    evidence = load_evidence(evidence_directory(options.evidence))
    recipe: Recipe = load_recipe(recipe_path(options.recipe))
    # One thread per process: the replicates are the parallel unit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ketacast.clinical.validation import run_validation  # noqa: PLC0415

    return run_validation(evidence, recipe, options, _say)
