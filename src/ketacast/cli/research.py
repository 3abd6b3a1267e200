"""Commands of researchers: ``synthesis``, ``fit`` and ``validate``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ketacast.cli.evidence import evidence_directory
from ketacast.cli.progress import Progress
from ketacast.clinical.artifact import ARTIFACT_NAME, default_model_directory, load_artifact
from ketacast.clinical.recipe import load_recipe
from ketacast.evidence import load_evidence

#: What `ketacast clinic study` wrote, looked for beside validation.json.
CLINIC_STUDIES = "clinic_coverage.json"


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

    shipped = load_recipe(recipe_path(None))
    other = evidence.sha256 != load_evidence(evidence_directory(None)).sha256
    if (other or recipe.sha256 != shipped.sha256) and (recipe.name, recipe.version) == (
        shipped.name,
        shipped.version,
    ):
        _say(
            f"note: this is not the published {recipe.name} {recipe.version}, yet it carries its "
            "name; give your recipe a name and version of its own (only the hash tells them apart)"
        )
    start = time.perf_counter()
    _say(f"fitting {recipe.name} {recipe.version} on {evidence_at}")
    model = fit_model(evidence, recipe)
    _say(
        f"fitted in {time.perf_counter() - start:.1f} s: {model.basis.cohorts} cohorts, "
        f"{model.basis.patients:,} patients, {model.basis.rows} rows; "
        "choosing draws and computing the table (10 to 30 s)"
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
    recipe = load_recipe(recipe_path(options.recipe))
    # One thread per process: the fits are the parallel unit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ketacast.clinical.validation import validate as run  # noqa: PLC0415  # SciPy
    from ketacast.clinical.validation import write_validation  # noqa: PLC0415
    from ketacast.clinical.validation_text import validation_lines  # noqa: PLC0415

    json_to = options.json_out or options.out
    result = run(
        evidence,
        recipe,
        quick=options.quick,
        directory=json_to,
        replicates=options.replicates,
        n_jobs=options.jobs,
        progress=Progress(),
        extra=_clinic_studies(Path(json_to)),
    )
    print("\n".join(validation_lines(result)))
    for path in write_validation(result, json_to, options.out):
        _say(f"wrote {path}")
    return 0


def _clinic_studies(directory: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Results of ``ketacast clinic study`` beside the validation, if they are of this model."""
    path = directory / CLINIC_STUDIES
    artifact = directory / ARTIFACT_NAME
    if not path.exists() or not artifact.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["model_sha256"] != load_artifact(directory).sha256:
        _say(f"note: {path} is of another model and left out; run `ketacast clinic study` again")
        return None
    return {"updating": content["studies"]}
