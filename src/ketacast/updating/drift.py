"""Whether a clinic's results fit the model, and whether they have changed.

Every batch is compared with two predictions made without it: that of the model for
a new clinic, and that of the model given the clinic's earlier batches. The first,
for all patients so far, asks whether the clinic fits the model at all; the
second, for the batch alone and for the later half of all patients, whether the
clinic has changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from ketacast.clinical.artifact import Artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import Coding
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.options import OUTCOMES, Outcome
from ketacast.updating.counts import Batch, Cell, cumulative
from ketacast.updating.drift_counts import predicted_total
from ketacast.updating.refit import Model, load_model, refit
from ketacast.updating.reweight import effective_size, move, normalised

Verdict = Literal["too early to tell", "fits", "does not fit"]

ALPHA: Final = 0.05
"""Aim for the chance that a question ever calls out a clinic that the model describes.
Measured on simulated steady clinics, *fits the model*: 7 of 310 with 8 batches of 24
patients, but 15 of 210 with 12 to 16 batches of 8 to 10, so that many small batches may
exceed it a little; *unchanged*: 5 of 120."""

INTERVAL_LEVEL: Final = 0.95
LEAST_ESS: Final = 400.0
"""Below it the model is refitted with the batches so far, and the refit's draws go on."""


@dataclass(frozen=True, slots=True)
class Check:
    """One count beside one prediction.

    Attributes
    ----------
    patients, observed : int
        Patients and events counted.
    expected : float
        Predicted share of patients.
    interval : (float, float)
        95 % predictive interval of the observed share, binomial noise included.
    p_value : float
        Two-sided mid-p value of the observed count.
    adjusted : float
        The p-value corrected for the number of looks and outcomes, at most 1.
    reachable : bool
        Whether no event, and whether all events, would each have been called out:
        otherwise it is too early to tell.
    """

    patients: int
    observed: int
    expected: float
    interval: tuple[float, float]
    p_value: float
    adjusted: float
    reachable: bool

    @property
    def share(self) -> float:
        """``observed / patients``."""
        return self.observed / self.patients


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """One batch and outcome.

    Attributes
    ----------
    batch : str
        Label of the batch.
    outcome : {"response", "remission"}
        What is counted.
    new_clinic : Check
        The batch beside the prediction for a new clinic; shown, not part of a verdict.
    so_far : Check
        All batches up to this one beside the prediction for a new clinic.
    earlier : Check or None
        The batch beside the prediction given the earlier ones; None for the first.
    later_half : Check or None
        The batches that hold the later half of the patients so far, beside the
        prediction given those before; None for the first.
    """

    batch: str
    outcome: Outcome
    new_clinic: Check
    so_far: Check
    earlier: Check | None
    later_half: Check | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Result of :func:`check_drift`.

    Attributes
    ----------
    fits_model : {"too early to tell", "fits", "does not fit"}
        All results so far beside the model's new clinics; "does not fit" once a look
        was called out.
    unchanged : {"too early to tell", "fits", "does not fit"}
        Later beside earlier batches; "does not fit" once a comparison was called out.
    verdict : {"too early to tell", "fits", "does not fit"}
        "does not fit" if either says so; "fits" if both do.
    misfit_at, changed_at : tuple of str
        Batches at which a look, or a comparison with earlier batches, was called out.
    points : tuple of DriftPoint
        By batch and outcome, for a plot over time.
    """

    fits_model: Verdict
    unchanged: Verdict
    verdict: Verdict
    misfit_at: tuple[str, ...]
    changed_at: tuple[str, ...]
    points: tuple[DriftPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the JSON answer."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Known:
    """The model after some batches: draws with this clinic's scores, and weights."""

    draws: EqualDraws
    weight: Float


def check_drift(artifact: Artifact, batches: Sequence[Batch]) -> Drift:
    """Compare a clinic's batches, in order, with the model and with each other.

    Parameters
    ----------
    artifact : Artifact
        The model, with its evidence beside it.
    batches : sequence of Batch
        In the order of time, for example ``clinic.batches``.

    Returns
    -------
    Drift

    Raises
    ------
    ArtifactError
        If the model's files are damaged or missing.
    ConvergenceError
        If a refit is needed and fails.

    Notes
    -----
    Posterior predictive p-values in the prequential form: every prediction is made
    before its data (Dawid 1984, J R Stat Soc A 147:278-292). P-values of growing
    totals move together, so the looks at them are counted in doublings:
    ``1 + log2(patients / patients at the first look)``; those of single batches do
    not, and the j-th is multiplied by ``j (j + 1)``, whose reciprocals sum to 1. Both
    are multiplied by the number of outcomes, and by 2 for the two comparisons of
    later with earlier batches.
    """
    counted = [batch for batch in batches if batch.n > 0]
    draws, coding = load_draws(artifact), coding_of(artifact)
    equal = np.full(draws.beta.shape[0], 1.0 / draws.beta.shape[0])
    history = [_Known(draws, equal), *_history(artifact, draws, counted)]
    cells = [cell for batch in counted for cell in batch.cells]
    recorded = [outcome for outcome in OUTCOMES if any(_records(cell, outcome) for cell in cells)]
    points: list[DriftPoint] = []
    for number in range(len(counted)):
        questions = _questions(counted, number, len(recorded))
        for outcome in recorded:
            checks = [
                None if one is None else _check(one, outcome, history, coding) for one in questions
            ]
            new, so_far, earlier, later_half = checks
            if new is not None and so_far is not None:
                label = counted[number].label
                points.append(DriftPoint(label, outcome, new, so_far, earlier, later_half))
    return _judged(points)


@dataclass(frozen=True, slots=True)
class _Question:
    """Which batches are compared with what, and the correction of the p-value."""

    batches: tuple[Batch, ...]
    known: int  # place in the history; 0 is the new clinic
    factor: float


def _questions(batches: Sequence[Batch], number: int, outcomes: int) -> list[_Question | None]:
    """Return a new clinic's batch, its total, the batch given earlier, the later half."""
    sizes = [batch.n for batch in batches[: number + 1]]
    total = sum(sizes)
    single, all_so_far = (batches[number],), tuple(batches[: number + 1])
    looks = 1.0 + math.log2(total / sizes[0])
    found: list[_Question | None] = [
        _Question(single, 0, outcomes * looks),
        _Question(all_so_far, 0, outcomes * looks),
    ]
    if number == 0:
        return [*found, None, None]
    half = next(i for i in range(1, number + 1) if i == number or 2 * sum(sizes[:i]) >= total)
    looks = 1.0 + math.log2(total / sum(sizes[:2]))
    # Knowledge before batch i stands at place i + 1 of the history.
    return [
        *found,
        _Question(single, number + 1, 2.0 * outcomes * number * (number + 1)),
        _Question(all_so_far[half:], half + 1, 2.0 * outcomes * looks),
    ]


def _records(cell: Cell, outcome: Outcome) -> bool:
    return (cell.responders if outcome == "response" else cell.remitters) is not None


def _check(
    question: _Question, outcome: Outcome, history: Sequence[_Known], coding: Coding
) -> Check | None:
    known = history[question.known]
    cells = cumulative(
        (cell for batch in question.batches for cell in batch.cells), coding.plateau_infusions
    )
    total = predicted_total(cells, outcome, known.draws, known.weight, coding)
    if total is None:
        return None
    p_value = total.mid_p(total.observed)
    return Check(
        patients=total.patients,
        observed=total.observed,
        expected=total.expected,
        interval=total.share_interval(INTERVAL_LEVEL),
        p_value=p_value,
        adjusted=min(1.0, p_value * question.factor),
        reachable=total.least_p() * question.factor < ALPHA,
    )


def _history(artifact: Artifact, base: EqualDraws, batches: Sequence[Batch]) -> Iterator[_Known]:
    """Yield what is known before each batch: reweighted from the last refit, if any."""
    coding = coding_of(artifact)
    log_before = np.zeros(base.beta.shape[0])
    model: Model | None = None
    seen: list[Cell] = []
    for batch in batches:
        cells = cumulative(seen, coding.plateau_infusions)
        moved = move(base, cells, coding)
        if effective_size(moved.log_weight - log_before) < LEAST_ESS:
            model = model or load_model(artifact)
            base = refit(model, cells).base
            moved = move(base, cells, coding)
            log_before = moved.log_weight
        weight = normalised(moved.log_weight - log_before)
        yield _Known(replace(base, scores=moved.scores), weight)
        seen += batch.cells


def _judged(points: Sequence[DriftPoint]) -> Drift:
    looks = [(point.batch, point.so_far) for point in points]
    changes = [
        (point.batch, check)
        for point in points
        for check in (point.earlier, point.later_half)
        if check is not None
    ]
    fits, misfit_at = _verdict(looks)
    unchanged, changed_at = _verdict(changes)
    verdict: Verdict = "too early to tell"
    if "does not fit" in (fits, unchanged):
        verdict = "does not fit"
    elif (fits, unchanged) == ("fits", "fits"):
        verdict = "fits"
    return Drift(fits, unchanged, verdict, misfit_at, changed_at, tuple(points))


def _verdict(checks: Sequence[tuple[str, Check]]) -> tuple[Verdict, tuple[str, ...]]:
    """Verdict, and the batches that were called out."""
    called = tuple(dict.fromkeys(batch for batch, check in checks if check.adjusted < ALPHA))
    if called:
        return "does not fit", called
    return ("fits" if any(check.reachable for _, check in checks) else "too early to tell"), ()
