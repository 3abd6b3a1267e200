"""Whether *this clinic* intervals hold the clinic's rate as often as they claim.

Coefficients and taus are drawn from the posterior, a clinic's effects from them,
patients from the clinic; the posterior given the counts is computed and its
intervals are compared with the rates that made the data. The truths come from
posterior points that the computation does not use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.clinical.artifact import Artifact
from ketacast.clinical.midcourse import weighted_quantiles
from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.rates import Coding, Rates, clinic_rates
from ketacast.errors import InputError
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.numerics.hierarchical import fit_posterior
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.options import OUTCOMES, Outcome, check_choice
from ketacast.updating.counts import Cell, CountRater, cumulative
from ketacast.updating.refit import Model, load_model, refit
from ketacast.updating.reweight import effective_size, move, normalised

Scenario = Literal["model", "three_tau", "slope_flipped"]

SCENARIOS: Final = get_args(Scenario)
SIZES: Final = (0, 10, 50, 500)
LEVELS: Final = (0.80, 0.95)
BANDS: Final = ((2, 4), (5, 7), (8, 12))
SHARES: Final = (0.4, 0.4, 0.2)
"""The clinic's patients by failed trials; each is spread evenly over its band."""

INFUSIONS: Final = 6
TARGETS: Final = (3, 6, 10)
"""Failed trials at which the rate is predicted, one in each band."""

CLINICS: Final = 2_000
SEED: Final = 20260401
CHUNK: Final = 25
POINTS: Final = 32_768
"""Posterior points: one half draws the truths, the other stands for the posterior.
16,384 weighted points keep four times the effective size of 4,096 draws, so that few
clinics need a refit."""

LEAST_ESS: Final = 400.0
"""Effective size of the points below which a clinic is refitted."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an interval held the clinic's true rate.

    Attributes
    ----------
    patients : int
        Patients counted before.
    outcome : {"response", "remission"}
        Rate predicted.
    level : float
        Nominal level.
    share, se : float
        Share of intervals that held it, and its Monte Carlo standard error (clinics
        as the unit: their three targets are averaged first).
    width : float
        Mean width of the interval.
    bias : float
        Mean of expected rate minus true rate.
    """

    patients: int
    outcome: Outcome
    level: float
    share: float
    se: float
    width: float
    bias: float


@dataclass(frozen=True, slots=True)
class ClinicCoverage:
    """Result of :func:`clinic_coverage_study`.

    Attributes
    ----------
    scenario : {"model", "three_tau", "slope_flipped"}
        How the clinics were made.
    clinics, seed, points : int
        What the run was made with; `points` weighted posterior points each.
    updates, refits : int
        Updates with counts, and how many of them were refits, because the points
        had an effective size below 400.
    refits_compared : int
        Clinics whose largest counts were also refitted as in production.
    refit_gap : float
        Largest difference between bounds of study and refit in those; 0 without.
    coverage : tuple of Coverage
        By patients, outcome and level.
    """

    scenario: Scenario
    clinics: int
    seed: int
    points: int
    updates: int
    refits: int
    refits_compared: int
    refit_gap: float
    coverage: tuple[Coverage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the validation file."""
        return {**asdict(self), "coverage": [asdict(row) for row in self.coverage]}


@dataclass(frozen=True, slots=True)
class _Setup:
    model: Model
    base: EqualDraws
    log_weight: Float
    truths: EqualDraws
    sizes: tuple[int, ...]
    scenario: Scenario
    seed: int


@dataclass(frozen=True, slots=True)
class _Clinic:
    rater: CountRater
    beta: Float
    effects: Float


def clinic_coverage_study(
    artifact: Artifact,
    scenario: Scenario = "model",
    *,
    clinics: int = CLINICS,
    sizes: Sequence[int] = SIZES,
    seed: int = SEED,
    points: int = POINTS,
    compared: int = 4,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> ClinicCoverage:
    """Simulate clinics and count how often their intervals hold.

    Parameters
    ----------
    artifact : Artifact
        The model, with its evidence beside it.
    scenario : {"model", "three_tau", "slope_flipped"}
        Clinics from the model; with a response effect 3 tau from the mean, on
        either side; or with both failed-trials slopes of the opposite sign.
    clinics : int
        How many, 2 or more.
    sizes : sequence of int
        Patients counted before the prediction, ascending; the later counts of a
        clinic hold the earlier ones.
    seed : int
        Every clinic has its own stream: the result does not depend on `n_jobs`.
    points : int
        Posterior points, a power of 2; half of them are used to predict.
    compared : int
        How many clinics are also refitted, to show that both ways agree.
    n_jobs : int
        Processes.
    progress : callable, optional
        Told after every 25 clinics.

    Returns
    -------
    ClinicCoverage

    Raises
    ------
    InputError
        If an argument is not usable.
    """
    check_choice("scenario", scenario, SCENARIOS)
    for name, value, least in (
        ("clinics", clinics, 2),
        ("seed", seed, 0),
        ("compared", compared, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}; give a whole number, {least} or more")
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 0:
        raise InputError(f"sizes is {sizes!r}; give ascending numbers of patients, 0 or more")
    model = load_model(artifact)
    setup = _setup(model, scenario, tuple(sizes), seed, points)
    chunks = [range(i, min(i + CHUNK, clinics)) for i in range(0, clinics, CHUNK)]
    parts = map_in_order(partial(_chunk, setup), chunks, n_jobs, progress, "clinics")
    found = np.concatenate([part[0] for part in parts])
    ess = np.concatenate([part[1] for part in parts])
    gaps = [_refit_gap(setup, number) for number in range(min(compared, clinics))]
    return ClinicCoverage(
        scenario=scenario,
        clinics=clinics,
        seed=seed,
        points=setup.log_weight.size,
        updates=clinics * sum(size > 0 for size in sizes),
        refits=int((ess < LEAST_ESS).sum()),
        refits_compared=len(gaps),
        refit_gap=max(gaps, default=0.0),
        coverage=_tabulate(found, setup.sizes),
    )


def _setup(
    model: Model, scenario: Scenario, sizes: tuple[int, ...], seed: int, points: int
) -> _Setup:
    posterior = fit_posterior(model.rows, model.priors, points)
    half = points // 2
    # Both halves of the even points are even; the scores go along the first coefficient.
    order = np.argsort(posterior.beta[:half, 0], kind="stable")
    even = even_points(half, 4)
    scores = special.ndtri(even[np.argsort(even[:, 0], kind="stable")][:, 1:])
    base = EqualDraws(posterior.beta[:half][order], posterior.tau[:half][order], scores)
    rng = np.random.default_rng(seed)
    weight = posterior.weight[half:] / posterior.weight[half:].sum()
    picked = half + rng.choice(half, size=half, p=weight)
    truths = EqualDraws(posterior.beta[picked], posterior.tau[picked], np.zeros((half, 3)))
    log_weight = np.log(np.maximum(posterior.weight[:half][order], 1e-300))
    return _Setup(model, base, log_weight, truths, sizes, scenario, seed)


def _chunk(setup: _Setup, numbers: range) -> tuple[Float, Float]:
    results = [_one(setup, number) for number in numbers]
    return np.stack([one[0] for one in results]), np.stack([one[1] for one in results])


def _one(setup: _Setup, number: int, least: float = LEAST_ESS) -> tuple[Float, Float]:
    """Truth, mean and bounds (sizes, outcomes, targets, 2 + 2 levels), and ESS (sizes,)."""
    clinic, counts = _simulated(setup, number)
    coding = setup.model.coding
    found = np.empty((len(setup.sizes), len(OUTCOMES), len(TARGETS), 2 + 2 * len(LEVELS)))
    found[..., 0] = _truth(clinic, coding)
    ess = np.empty(len(setup.sizes))
    for i, cells in enumerate(counts):
        moved = move(setup.base, cells, coding)
        log_weight = setup.log_weight + moved.log_weight
        ess[i] = effective_size(log_weight)
        draws = replace(setup.base, scores=moved.scores)
        weight: Float | None = normalised(log_weight)
        if ess[i] < least:
            draws, weight = refit(setup.model, cells).draws, None
        found[i, :, :, 1:] = _predicted(draws, weight, clinic.rater, coding)
    return found, ess


def _simulated(setup: _Setup, number: int) -> tuple[_Clinic, list[tuple[Cell, ...]]]:
    """Draw a clinic and its cumulative counts at each size."""
    rng = np.random.default_rng([setup.seed, number])
    at = number % setup.truths.beta.shape[0]
    beta, tau = setup.truths.beta[at].copy(), setup.truths.tau[at]
    effects = tau * rng.standard_normal(3)
    if setup.scenario == "three_tau":
        effects[0] = 3.0 * tau[0] * rng.choice((-1.0, 1.0))
    elif setup.scenario == "slope_flipped":
        beta[[3, 7]] *= -1.0
    rater: CountRater = "self" if rng.random() < 0.5 else "clinician"
    clinic = _Clinic(rater, beta, effects)
    so_far: list[Cell] = []
    counts, seen = [], 0
    for size in setup.sizes:
        so_far += _patients(clinic, size - seen, setup.model.coding, rng)
        seen = size
        counts.append(cumulative(so_far))
    return clinic, counts


def _patients(clinic: _Clinic, n: int, coding: Coding, rng: np.random.Generator) -> list[Cell]:
    cells = []
    for band, size in zip(BANDS, rng.multinomial(n, SHARES).tolist(), strict=True):
        numbers = np.arange(band[0], band[1] + 1)
        trials = rng.choice(numbers, size=size)
        rates = [_rates_at(clinic, int(f), coding) for f in numbers]
        p = np.array([rate.response[0] for rate in rates])[trials - band[0]]
        pq = np.array([rate.remission[0] for rate in rates])[trials - band[0]]
        drawn = rng.random(size)
        responders, remitters = int((drawn < p).sum()), int((drawn < pq).sum())
        cells.append(
            Cell(band, INFUSIONS, clinic.rater, "all_treated", size, responders, remitters)
        )
    return cells


def _rates_at(clinic: _Clinic, trials: int, coding: Coding) -> Rates:
    # Unit taus: the scores are the effects themselves.
    single = EqualDraws(clinic.beta[None], np.ones((1, 3)), clinic.effects[None])
    return clinic_rates(single, coding, trials, INFUSIONS, clinic.rater, new_clinic=True)


def _truth(clinic: _Clinic, coding: Coding) -> Float:
    rates = [_rates_at(clinic, trials, coding) for trials in TARGETS]
    return np.array([[float(getattr(r, outcome)[0]) for r in rates] for outcome in OUTCOMES])


def _predicted(draws: EqualDraws, weight: Float | None, rater: str, coding: Coding) -> Float:
    """Mean and bounds, (outcomes, targets, 1 + 2 levels)."""
    sides = np.array([side for one in LEVELS for side in ((1 - one) / 2, (1 + one) / 2)])
    found = np.empty((len(OUTCOMES), len(TARGETS), 1 + sides.size))
    for j, trials in enumerate(TARGETS):
        rates = clinic_rates(draws, coding, trials, INFUSIONS, rater, new_clinic=True)
        for i, outcome in enumerate(OUTCOMES):
            values = getattr(rates, outcome)
            found[i, j, 0] = np.average(values, weights=weight)
            found[i, j, 1:] = weighted_quantiles(values, weight, sides)
    return found


def _refit_gap(setup: _Setup, number: int) -> float:
    """Largest difference of bounds between the study's way and a refit, largest counts."""
    clinic, counts = _simulated(setup, number)
    if not counts[-1]:
        return 0.0
    found, _ = _one(setup, number, 0.0)
    fitted = refit(setup.model, counts[-1]).draws
    bounds = _predicted(fitted, None, clinic.rater, setup.model.coding)[:, :, 1:]
    return float(np.abs(bounds - found[-1, :, :, 2:]).max())


def _tabulate(found: Float, sizes: tuple[int, ...]) -> tuple[Coverage, ...]:
    rows = []
    for i, size in enumerate(sizes):
        for j, outcome in enumerate(OUTCOMES):
            truth, mean = found[:, i, j, :, 0], found[:, i, j, :, 1]
            for k, level in enumerate(LEVELS):
                low, high = found[:, i, j, :, 2 + 2 * k], found[:, i, j, :, 3 + 2 * k]
                held = ((low <= truth) & (truth <= high)).mean(axis=1)
                rows.append(
                    Coverage(
                        patients=size,
                        outcome=outcome,
                        level=level,
                        share=float(held.mean()),
                        se=float(held.std(ddof=1) / np.sqrt(held.size)),
                        width=float((high - low).mean()),
                        bias=float((mean - truth).mean()),
                    )
                )
    return tuple(rows)
