"""From an artifact and a cohort to the numbers that the engines run on, draw by draw.

All of them are those of the predictor: rates after each infusion from
:mod:`ketacast.clinical.rates`, the correlation w of the course dynamics, the Weibull time
in response and the maintenance hazard ratios of the durability section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.clinical.artifact import Artifact
from ketacast.clinical.course_parts import load_durability
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.durability import Durability
from ketacast.clinical.rates import Coding, clinic_rates, components
from ketacast.course_answer import propensity_of
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.propensity import HIGHEST_PROPENSITY
from ketacast.simulation.profiles import read_profile
from ketacast.simulation.specification import AVERAGE, NEW, Cohort, Specification
from ketacast.updating.stored import clinic_draws

Int = NDArray[np.int64]

_SPREAD_KEY: Final = 11
"""Key of the numbers that pick one stored draw of each stretch: any will do; of the first
400 this one brings means and SDs of all parameters of `ketamine-trd` 1.1.0 closest, for 50 to
2,048 draws."""

_CLINIC_KEY: Final = 12
"""Key of the orders in which further new clinics take up the stored scores."""

_NO_SPREAD: Final = 1e-9
"""Below this SD between clinics a new clinic's log lambda is the average's."""


@dataclass(frozen=True, slots=True)
class ClinicTable:
    """One clinic's draws.

    Attributes
    ----------
    name : str
        "new", "new 2", ..., "average", or the profile's path.
    draws : EqualDraws
        Coefficients, spreads and this clinic's scores.
    new_clinic : bool
        Add the clinic's effects; else they are 0.
    propensity, log_scale : (n,) float arrays
        w, and log lambda in days of the time in response.
    sha256 : str
        Digest of the profile, or empty.
    """

    name: str
    draws: EqualDraws
    new_clinic: bool
    propensity: FloatArray
    log_scale: FloatArray
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """Patients with the same covariates in the same clinic.

    Attributes
    ----------
    failed_trials : int
    rated_by : str
        "self" or "clinician".
    clinic : int
        Index of its :class:`ClinicTable`.
    weight : float
        Share or number of patients.
    """

    failed_trials: int
    rated_by: str
    clinic: int
    weight: float


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of some draws, ready to run.

    Attributes
    ----------
    draws : (D,) int array
        Which of the specification's draws, from 0.
    response, remission : (D, C, K) float arrays
        Rates after infusions 1 to the plateau in each cell.
    propensity : (D, G) float array
        w in each clinic.
    log_scale : (D, G) float array
        Log lambda (days) of the time in response in each clinic.
    shape : (D,) float array
        Weibull shape.
    log_ratio : mapping of stratum to (D,) float array
        Log hazard ratio of maintenance.
    """

    draws: Int
    response: FloatArray
    remission: FloatArray
    propensity: FloatArray
    log_scale: FloatArray
    shape: FloatArray
    log_ratio: dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Source:
    """A model and a cohort, from which the parameters of any draw are made.

    Attributes
    ----------
    artifact : Artifact
    coding : Coding
    durability : Durability
    clinics : tuple of ClinicTable
    cells : tuple of Cell
    count : int
        Draws of the specification.
    """

    artifact: Artifact
    coding: Coding
    durability: Durability
    clinics: tuple[ClinicTable, ...]
    cells: tuple[Cell, ...]
    count: int

    @property
    def clinic_of_cell(self) -> Int:
        """Clinic of each cell, (C,)."""
        return np.array([cell.clinic for cell in self.cells], np.int64)

    @property
    def weights(self) -> FloatArray:
        """Weight of each cell, (C,), as given."""
        return np.array([cell.weight for cell in self.cells])

    def parameters(self, draws: Sequence[int]) -> Parameters:
        """Compute the parameters of some draws, (D,); the same for any set they are in."""
        which = np.asarray(draws, np.int64)
        rows = spread_rows(which, self.count, self.durability.draws.k.size)
        own = [spread_rows(which, self.count, one.propensity.size) for one in self.clinics]
        last = self.coding.plateau_infusions
        shape = (which.size, len(self.cells), last)
        response, remission = np.empty(shape), np.empty(shape)
        taken = [_taken(one.draws, place) for one, place in zip(self.clinics, own, strict=True)]
        for c, cell in enumerate(self.cells):
            clinic = self.clinics[cell.clinic]
            for k in range(last):
                rates = clinic_rates(
                    taken[cell.clinic], self.coding, cell.failed_trials, k + 1, cell.rated_by,
                    new_clinic=clinic.new_clinic,
                )  # fmt: skip
                response[:, c, k], remission[:, c, k] = rates.response, rates.remission
        return Parameters(
            draws=which,
            response=response,
            remission=remission,
            propensity=np.stack(
                [one.propensity[place] for one, place in zip(self.clinics, own, strict=True)], 1
            ),
            log_scale=np.stack(
                [one.log_scale[place] for one, place in zip(self.clinics, own, strict=True)], 1
            ),
            shape=self.durability.draws.k[rows],
            log_ratio={
                name: one.log_ratio[rows] for name, one in self.durability.maintenance.items()
            },
        )


def open_source(artifact: Artifact, specification: Specification) -> Source:
    """Read what the model and the clinics' profiles hold.

    Raises
    ------
    InputError
        If the model has no course dynamics or no time in response.
    ArtifactError
        If the model or a profile is damaged, or they do not belong together.
    """
    durability = load_durability(artifact)
    clinics, cells = _cells(artifact, durability, specification.cohort)
    return Source(
        artifact=artifact,
        coding=coding_of(artifact),
        durability=durability,
        clinics=clinics,
        cells=cells,
        count=specification.draws,
    )


def spread_rows(draws: Int, count: int, stored: int) -> Int:
    """Which of the stored draws stand for the specification's, (D,).

    The stored draws are even point sets in the order of their construction. A prefix of them
    leaves means off by 2 SD; so does every m-th where m is a power of 2, because the sets are
    built on powers of 2 (the Weibull shape is then off by 1.3 SD with 256 draws). One from
    each of `count` equal stretches, at a place of its own, keeps the means of all parameters of
    `ketamine-trd` 1.1.0 within 0.09 SD with 256 draws and 0.05 SD with 1,024. That is with a key
    chosen for it: of 400 keys half stay within 0.13 and 0.06, nine of ten within 0.17 and 0.08,
    which is what to expect of another model. All draws are themselves.

    References
    ----------
    Owen 2013, Monte Carlo theory, methods and examples, chapter 8 (stratification).
    """
    if count >= stored:
        return draws * stored // count
    low = draws * stored // count
    width = (draws + 1) * stored // count - low
    rows: Int = low + (_places(count)[draws] * width).astype(np.int64)
    return rows


@lru_cache(maxsize=16)
def _places(count: int) -> FloatArray:
    """Numbers from 0 to 1, the same in every version of NumPy."""
    words = np.random.Philox(key=_SPREAD_KEY).random_raw(count)
    places: FloatArray = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return places


def _order(number: int, size: int) -> Int:
    """Order in which a further new clinic takes up the scores: with none shared by chance.

    Shifts of one sequence would be simpler, but its neighbours depend on each other: the
    mean of 12 clinics would vary a quarter less than it should.
    """
    words = np.random.Philox(key=np.array([_CLINIC_KEY, number], np.uint64)).random_raw(size)
    return np.argsort(words, kind="stable").astype(np.int64)


def equal_rows(weight: FloatArray) -> Int:
    """Systematic resampling: draws by weight, in their order, (n,).

    References
    ----------
    Kitagawa 1996, J Comput Graph Stat 5:1 (systematic resampling).
    """
    share = np.cumsum(weight)
    places = (np.arange(weight.size) + 0.5) / weight.size * share[-1]
    rows: Int = np.minimum(np.searchsorted(share, places), weight.size - 1).astype(np.int64)
    return rows


def _cells(
    artifact: Artifact, durability: Durability, cohort: Cohort
) -> tuple[tuple[ClinicTable, ...], tuple[Cell, ...]]:
    tables: dict[str, int] = {}
    clinics: list[ClinicTable] = []
    cells: list[Cell] = []
    for group in cohort.groups:
        names = [group.clinic]
        if group.clinic == NEW:
            names = [NEW if j == 0 else f"{NEW} {j + 1}" for j in range(group.clinics)]
        for name in names:
            if name not in tables:
                tables[name] = len(clinics)
                clinics.append(_clinic(artifact, durability, name))
            mixture = components([group.failed_trials], group.rated_by)
            share = group.weight / (len(names) * len(mixture))
            cells.extend(Cell(trials, rater, tables[name], share) for trials, rater in mixture)
    return tuple(clinics), tuple(cells)


def _clinic(artifact: Artifact, durability: Durability, name: str) -> ClinicTable:
    draws, w = load_draws(artifact), np.minimum(propensity_of(artifact), HIGHEST_PROPENSITY)
    time = durability.draws
    if name == AVERAGE:
        return ClinicTable(name, draws, new_clinic=False, propensity=w, log_scale=time.m)
    if name == NEW:
        return ClinicTable(name, draws, new_clinic=True, propensity=w, log_scale=time.log_scale)
    if name.startswith(f"{NEW} "):
        order = _order(int(name.split()[1]), w.size)
        safe = np.maximum(time.s, _NO_SPREAD)
        score = np.where(time.s > _NO_SPREAD, (time.log_scale - time.m) / safe, 0.0)
        return ClinicTable(
            name,
            EqualDraws(draws.beta, draws.tau, draws.scores[order]),
            new_clinic=True,
            propensity=w[order],
            log_scale=time.m + time.s * score[order],
        )
    return _profile(artifact, name, w, time.log_scale)


def _profile(artifact: Artifact, path: str, w: FloatArray, log_scale: FloatArray) -> ClinicTable:
    """Read a clinic's own draws; w and the time in response are those of a new clinic."""
    clinic = read_profile(path)
    known = clinic_draws(artifact, clinic)
    draws = known.draws
    if known.weight is not None:
        draws = _taken(draws, equal_rows(known.weight))
    rows = spread_rows(np.arange(draws.beta.shape[0]), draws.beta.shape[0], w.size)
    return ClinicTable(path, draws, True, w[rows], log_scale[rows], clinic.sha256)


def _taken(draws: EqualDraws, rows: Int) -> EqualDraws:
    return EqualDraws(draws.beta[rows], draws.tau[rows], draws.scores[rows])
