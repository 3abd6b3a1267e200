"""What is simulated: cohort, strategies, the user's assumptions, how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from ketacast.errors import InputError
from ketacast.options import RATERS, Rater, check_choice, shown
from ketacast.simulation.strategies import LONGEST_HORIZON, Strategy, real, text, whole

Engine = Literal["expected", "counts", "individuals"]
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)

MOST_PATIENTS: Final = 10**12
MOST_DRAWS: Final = 4096
"""Draws that the model of the package holds."""

MOST_STRATEGIES: Final = 32
MOST_CELLS: Final = 5000
MOST_CLINICS: Final = 200
MOST_LEVELS: Final = 10
MOST_THRESHOLDS: Final = 500
LONGEST_PATH: Final = 1000
LEAST_TOTAL: Final = 1e-9
HIGHEST_TRIALS: Final = 20
NEW: Final = "new"
AVERAGE: Final = "average"


@dataclass(frozen=True, slots=True)
class Group:
    """Patients of a cohort that are alike.

    Attributes
    ----------
    failed_trials : int
        0 to 20.
    rated_by : {"self", "clinician", "unknown"}
        "unknown": half of the patients each.
    weight : float
        Share of the cohort, or number of patients (:attr:`Cohort.counted`).
    clinic : str
        "new" (a clinic not yet seen), "average", or the path of a clinic's own profile.
    clinics : int
        Different new clinics over which the group is spread evenly. Groups share them.
    """

    failed_trials: int
    rated_by: Rater
    weight: float
    clinic: str = NEW
    clinics: int = 1

    def __post_init__(self) -> None:
        whole("failed_trials", self.failed_trials, 0, HIGHEST_TRIALS)
        check_choice("rated_by", self.rated_by, RATERS)
        real("share or n of a group", self.weight, 0.0, MOST_PATIENTS)
        if not isinstance(self.clinic, str) or not self.clinic or "\0" in self.clinic:
            raise InputError(
                f"clinic is {shown(self.clinic)}; give 'new', 'average' or the path of a profile"
            )
        text("clinic", self.clinic, LONGEST_PATH)
        whole("clinics", self.clinics, 1, MOST_CLINICS)
        if self.clinics > 1 and self.clinic != NEW:
            raise InputError(
                f"clinics is {self.clinics} with clinic {shown(self.clinic)}; only new clinics "
                "can be more than one"
            )


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who is treated.

    Attributes
    ----------
    groups : tuple of Group
    counted : bool
        Weights are numbers of patients, kept as they are; else shares, and the cohort is
        drawn at random from them.
    """

    groups: tuple[Group, ...]
    counted: bool

    def __post_init__(self) -> None:
        if not self.groups or len(self.groups) > MOST_CELLS:
            raise InputError(
                f"the cohort has {len(self.groups)} groups; give 1 to {MOST_CELLS}, one for each "
                "combination of failed_trials, rated_by and clinic"
            )
        if not self.total >= LEAST_TOTAL:
            raise InputError(
                f"the cohort's shares or numbers add up to {self.total:g}; they are all 0 or too "
                f"small: give a sum of {LEAST_TOTAL:g} or more"
            )
        if self.cells > MOST_CELLS or self.clinics > MOST_CLINICS:
            raise InputError(
                f"the cohort has {self.cells:,} cells in {self.clinics:,} clinics; give at most "
                f"{MOST_CELLS:,} (groups, twice for an unknown rater, in each of their clinics) "
                f"and {MOST_CLINICS}: fewer groups, or fewer clinics"
            )
        if self.counted and any(group.weight % 1 for group in self.groups):
            raise InputError("n of a group is not a whole number; give counts, or share in place")

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(sum(group.weight for group in self.groups))

    @property
    def cells(self) -> int:
        """Cells: each group in each of its clinics, an unknown rater as two."""
        return sum(
            group.clinics * (2 if group.rated_by == "unknown" else 1) for group in self.groups
        )

    @property
    def clinics(self) -> int:
        """Different clinics."""
        new = max((group.clinics for group in self.groups if group.clinic == NEW), default=0)
        return new + len({group.clinic for group in self.groups} - {NEW})


@dataclass(frozen=True, slots=True)
class Dropout:
    """The user's assumption on patients who leave treatment, whatever their status.

    Attributes
    ----------
    per_infusion : float
        Probability of not coming to the next infusion of the course, 0 to 1.
    per_maintenance_week : float
        Probability of leaving maintenance in a week, 0 to 1.
    """

    per_infusion: float = 0.0
    per_maintenance_week: float = 0.0

    def __post_init__(self) -> None:
        real("dropout.per_infusion", self.per_infusion, 0.0, 1.0)
        real("dropout.per_maintenance_week", self.per_maintenance_week, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Costs:
    """The user's costs per patient, in one currency; what is not named costs nothing.

    Attributes
    ----------
    currency : str
    per_patient, per_infusion, per_week_in_response, per_week_otherwise : float
        At the start; each infusion of course, maintenance and re-induction; each week of
        other care.
    """

    currency: str
    per_infusion: float
    per_patient: float = 0.0
    per_week_in_response: float = 0.0
    per_week_otherwise: float = 0.0

    def __post_init__(self) -> None:
        name = self.currency
        if not isinstance(name, str) or not 1 <= len(name) <= 20 or not name.isprintable():
            raise InputError(f"costs.currency is {shown(name)}; give a name such as 'EUR'")
        for name in self.__slots__[1:]:
            real(f"costs.{name}", getattr(self, name), 0.0, 1e12)


@dataclass(frozen=True, slots=True)
class Utilities:
    """The user's health-state utilities, -1 to 1, on the scale of QALYs."""

    in_response: float
    otherwise: float

    def __post_init__(self) -> None:
        real("utilities.in_response", self.in_response, -1.0, 1.0)
        real("utilities.otherwise", self.otherwise, -1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Specification:
    """A whole simulation.

    Attributes
    ----------
    cohort : Cohort
    strategies : tuple of Strategy
        Names must differ; the first is the one that others are compared with.
    horizon_weeks : int
        Weeks followed from the first infusion.
    patients : int
        Size of the cohort; of a counted cohort, the sum of its numbers.
    title : str
    engine : {"counts", "expected", "individuals"}
    draws : int
        Posterior draws of the model that are run, 1 to 4,096.
    seed : int
        0 to 2**32 - 1.
    classes : int
        Classes of the latent propensity in "counts" and "individuals", a power of 2.
    levels : tuple of float
        Levels of the ranges over draws.
    dropout : Dropout, optional
    remission_share : float, optional
        The user's assumption: of those in response after the course, the share in remission.
    costs : Costs, optional
    utilities : Utilities, optional
    discount_per_year : float, optional
        Rate for costs and QALYs.
    willingness_to_pay : tuple of float
        Thresholds per QALY (per week in response without utilities) of the acceptability curve.
    """

    cohort: Cohort
    strategies: tuple[Strategy, ...]
    horizon_weeks: int
    patients: int
    title: str = ""
    engine: Engine = "counts"
    draws: int = 1024
    seed: int = 1
    classes: int = 64
    levels: tuple[float, ...] = (0.8, 0.95)
    dropout: Dropout | None = None
    remission_share: float | None = None
    costs: Costs | None = None
    utilities: Utilities | None = None
    discount_per_year: float | None = None
    willingness_to_pay: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._check_run()
        self._check_strategies()
        if self.remission_share is not None:
            real("remission_share", self.remission_share, 0.0, 1.0)
        if self.discount_per_year is not None:
            real("discount_per_year", self.discount_per_year, 0.0, 1.0)
            if self.costs is None and self.utilities is None:
                raise InputError("discount_per_year without costs or utilities; leave it out")
        if len(self.willingness_to_pay) > MOST_THRESHOLDS:
            raise InputError(
                f"willingness_to_pay has {len(self.willingness_to_pay):,} thresholds; give at most "
                f"{MOST_THRESHOLDS}"
            )
        for threshold in self.willingness_to_pay:
            real("willingness_to_pay", threshold, 0.0, 1e12)
        if self.willingness_to_pay and self.costs is None:
            raise InputError("willingness_to_pay without [costs]; give your costs or leave it out")

    @property
    def longest(self) -> int:
        """Infusions of the longest course at most."""
        return max(strategy.most_infusions for strategy in self.strategies)

    @property
    def entries(self) -> int:
        """Starts of time in response: infusions, and weeks in which a re-induction can end."""
        again = any(strategy.reinduction for strategy in self.strategies)
        return self.longest + (self.horizon_weeks if again else 0)

    def _check_run(self) -> None:
        check_choice("engine", self.engine, ENGINES)
        whole("patients", self.patients, 2, MOST_PATIENTS)
        whole("horizon_weeks", self.horizon_weeks, 1, LONGEST_HORIZON)
        whole("draws", self.draws, 1, MOST_DRAWS)
        whole("seed", self.seed, 0, 2**32 - 1)
        whole("classes", self.classes, 2, 4096)
        if self.classes & (self.classes - 1):
            raise InputError(f"classes is {self.classes}; give a power of 2, such as 64 or 256")
        text("title", self.title, 200)
        if not 1 <= len(self.levels) <= MOST_LEVELS:
            raise InputError(
                f"levels has {len(self.levels)} entries; give 1 to {MOST_LEVELS}, for example 0.8"
            )
        for level in self.levels:
            real("levels", level, 0.01, 0.99)
        if len({f"{100 * level:g}" for level in self.levels}) < len(self.levels):
            raise InputError(f"levels is {list(self.levels)}; give each one once")
        if self.cohort.counted and self.cohort.total != self.patients:
            raise InputError(
                f"patients is {self.patients}, the cohort's numbers add up to "
                f"{self.cohort.total:g}; leave patients out or give shares"
            )

    def _check_strategies(self) -> None:
        names = [strategy.name for strategy in self.strategies]
        if not 1 <= len(names) <= MOST_STRATEGIES:
            raise InputError(f"there are {len(names)} strategies; give 1 to {MOST_STRATEGIES}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"strategy name {twice!r} repeats; give each strategy its own")
        for strategy in self.strategies:
            if strategy.days[-1] >= 7 * self.horizon_weeks:
                raise InputError(
                    f"strategy {strategy.name!r} gives its last infusion on day "
                    f"{strategy.days[-1]}, after the horizon of {self.horizon_weeks} weeks; "
                    "give a longer horizon_weeks"
                )
        leaving = self.dropout.per_maintenance_week if self.dropout else 0.0
        if leaving and not any(strategy.maintenance for strategy in self.strategies):
            raise InputError(
                "dropout.per_maintenance_week is given, but no strategy has maintenance; "
                "leave it out"
            )
