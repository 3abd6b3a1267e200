"""Counts in, profile out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ketacast.clinical.artifact import Artifact, load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import Coding
from ketacast.errors import InputError
from ketacast.numerics.draws import EqualDraws
from ketacast.prediction import ModelId
from ketacast.updating.counts import Batch, Cell, RepeatedBatches, cumulative, join_batches
from ketacast.updating.counts_file import read_counts
from ketacast.updating.profile import Clinic, make_clinic
from ketacast.updating.refit import load_model, refit
from ketacast.updating.reweight import effective_size, move, normalised
from ketacast.updating.stored import refitted_text, reweighted_text
from ketacast.updating.summaries import clinic_table, new_clinic_table

REFIT_BELOW: Final = 2_000.0
"""Effective sample size of 4,096 draws below which the model is refitted. At 2,000 the
quantiles of both ways differ by up to 0.025 at the corners of the grid, hardly more
than two sets of 4,096 draws for a clinic of five patients (0.018); at 400 by 0.07."""


def update_clinic(
    model: Artifact | Path | str | None,
    counts: Sequence[Batch] | Path | str,
    previous: Clinic | None = None,
    *,
    label: str | None = None,
    repeated: RepeatedBatches = "refuse",
) -> Clinic:
    """Learn from a clinic's own results.

    Parameters
    ----------
    model : Artifact, path or None
        The model or its directory; None for the model of the package.
    counts : sequence of Batch, or path
        New results, or the CSV file with them. None of them gives a profile that
        answers like the new clinic.
    previous : Clinic, optional
        Profile to go on from; only its counts are used, so a profile of another
        version of the model may be given.
    label : str, optional
        Free text, at most 80 characters; by default that of `previous`.
    repeated : {"refuse", "add"}
        What to do with a batch label that `previous` holds already.

    Returns
    -------
    Clinic
        Depends on all counts together, not on their order or batches, except for
        the history.

    Raises
    ------
    InputError
        If counts or label are not usable.
    ArtifactError
        If the model is missing or damaged, or its evidence is needed and missing.
    ConvergenceError
        If a refit is needed and fails.
    """
    artifact = model if isinstance(model, Artifact) else load_artifact(model)
    new = read_counts(counts) if isinstance(counts, (str, Path)) else tuple(counts)
    _check_support(new, artifact)
    batches = join_batches(previous.batches if previous else (), new, repeated)
    coding = coding_of(artifact)
    every = (cell for batch in batches for cell in batch.cells)
    cells = cumulative(every, coding.plateau_infusions)
    if label is None:
        label = previous.label if previous else ""
    identity = ModelId(artifact.name, artifact.version, artifact.sha256)
    result = {**_learn(artifact, cells, coding), "plateau": coding.plateau_infusions}
    return make_clinic(label, identity, batches, cells, result)


def _learn(artifact: Artifact, cells: tuple[Cell, ...], coding: Coding) -> dict[str, Any]:
    table = artifact.content["table"]
    draws = load_draws(artifact)
    if not cells:
        return {
            "method": "new clinic",
            "ess": float(draws.beta.shape[0]),
            "table": new_clinic_table(table),
            "draws": None,
        }
    moved = move(draws, cells, coding)
    ess = effective_size(moved.log_weight)
    if ess >= REFIT_BELOW * draws.beta.shape[0] / 4096:
        weight = normalised(moved.log_weight)
        own = EqualDraws(draws.beta, draws.tau, moved.scores)
        return {
            "method": "reweighted",
            "ess": ess,
            "table": clinic_table(own, weight, coding, table),
            "draws": reweighted_text(moved.scores, weight),
        }
    fitted = refit(load_model(artifact), cells)
    return {
        "method": "refitted",
        "ess": fitted.ess,
        "table": clinic_table(fitted.draws, None, coding, table),
        "draws": refitted_text(fitted.draws),
    }


def _check_support(batches: Sequence[Batch], artifact: Artifact) -> None:
    support = artifact.content["support"]
    fewest, most = support["failed_trials_answered"]
    shortest, longest = support["infusions_answered"]
    for batch in batches:
        for cell in batch.cells:
            if cell.failed_trials[0] < fewest or cell.failed_trials[1] > most:
                raise InputError(
                    f"batch {batch.label!r}: failed trials {cell.failed_trials}; the model "
                    f"answers {fewest} to {most}, so leave these patients out"
                )
            if not shortest <= cell.infusions <= longest:
                raise InputError(
                    f"batch {batch.label!r}: {cell.infusions} infusions; the model answers "
                    f"{shortest} to {longest}, so leave these patients out"
                )
