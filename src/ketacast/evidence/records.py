"""Frozen records of the evidence tables: one class per table, one field per column.

A blank cell of a text or choice column is the empty string; a blank cell of a
number column is None. The meaning, range and unit of every column are in
:mod:`ketacast.evidence.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Design = Literal[
    "rct_arm", "open_label_trial", "retrospective_cohort", "prospective_cohort", "case_series"
]
Setting = Literal["trial", "real_world"]
Population = Literal["trd_unipolar", "trd_mixed", "trd_bipolar", "mdd_not_trd", "other"]
Drug = Literal["racemic_ketamine", "esketamine"]
Route = Literal["iv", "in", "im", "sc", "oral", "sl", "mixed"]
FailedTrialsScope = Literal["", "current_episode", "lifetime", "unclear"]
InSynthesis = Literal["yes", "no", "unknown"]
Verification = Literal["fulltext", "table", "abstract", "secondary", "press"]
RecordedOutcome = Literal[
    "response", "remission", "partial_response", "symptom_score", "relapse", "maintained_response"
]
InfusionsBasis = Literal["", "reported", "protocol", "inferred"]
EventsBasis = Literal["", "reported", "derived"]
DenominatorBasis = Literal["", "reported", "assumed"]
Scorer = Literal["clinician", "self", "unclear"]
Analysis = Literal["itt", "completer", "unclear"]
RatingTiming = Literal[
    "end_of_course",
    "within_72h_of_infusion",
    "trough",
    "best_point",
    "cumulative",
    "follow_up",
    "unclear",
]
ModelUse = Literal["", "primary", "time_course"]
GapBasis = Literal["", "reported", "assumed"]
ContrastBasis = Literal["counts", "reported_or", "means", "p_only"]
EarlyMeasure = Literal[
    "count", "pct_only", "sensitivity", "mean_change", "mean_score", "beta", "qualitative"
]
RelapseMeasure = Literal["count", "pct_only", "km_probability", "median_time", "mean_time"]


@dataclass(frozen=True, slots=True)
class Cohort:
    """One published cohort, or one drug arm of a trial (``cohorts.csv``)."""

    cohort_id: str
    family: str
    first_author: str
    year: int | None
    title: str
    journal: str
    doi: str
    pmid: str
    country: str
    design: Design
    setting: Setting
    population: Population
    drug: Drug
    route: Route
    dose_mg_per_kg: str
    schedule: str
    n_enrolled: int | None
    age_mean: float | None
    age_sd: float | None
    female_pct: float | None
    bipolar_pct: float | None
    failed_trials_min: int | None
    failed_trials_mean: float | None
    failed_trials_sd: float | None
    failed_trials_scope: FailedTrialsScope
    baseline_scale: str
    baseline_mean: float | None
    baseline_sd: float | None
    in_alnefeesi2022: InSynthesis
    verification: Verification
    include_primary: bool
    exclusion_reason: str
    notes: str

    @property
    def source(self) -> str:
        """Address of the paper by DOI, else by PMID, else the empty string."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://pubmed.ncbi.nlm.nih.gov/{self.pmid}/" if self.pmid else ""


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """One outcome of one arm at one time point (``outcomes.csv``)."""

    cohort_id: str
    arm: str
    is_control: bool
    outcome: RecordedOutcome
    timepoint: str
    days_from_first_infusion: float | None
    infusions: float | None
    infusions_basis: InfusionsBasis
    events: int | None
    n: int | None
    pct_reported: float | None
    events_basis: EventsBasis
    denominator_basis: DenominatorBasis
    mean: float | None
    sd: float | None
    scale: str
    scorer: Scorer
    criterion: str
    analysis: Analysis
    rating_timing: RatingTiming
    primary: bool
    source_url: str
    locator: Verification
    notes: str
    model_use: ModelUse


@dataclass(frozen=True, slots=True)
class Contrast:
    """More versus less resistant patients within one source (``contrasts.csv``)."""

    contrast_id: str
    cohort_id: str
    family: str
    outcome: RecordedOutcome
    more_resistant_group: str
    less_resistant_group: str
    trials_gap_low: float | None
    trials_gap_high: float | None
    gap_basis: GapBasis
    log_or: float | None
    se: float | None
    conditional_on_response: bool
    basis: ContrastBasis
    verification: Verification
    use_primary: bool
    notes: str
    source: str


@dataclass(frozen=True, slots=True)
class EarlyChange:
    """Early status and outcome at the end of the course (``early_change.csv``)."""

    row_id: str
    cohort_id: str
    family: str
    drug: Drug
    route: Route
    early_timepoint: str
    early_infusions: float | None
    early_criterion: str
    early_status: str
    outcome: RecordedOutcome
    final_timepoint: str
    final_infusions: float | None
    measure: EarlyMeasure
    events: int | None
    n: int | None
    pct_reported: float | None
    events_basis: EventsBasis
    value: float | None
    value_low: float | None
    value_high: float | None
    source_url: str
    locator: Verification
    notes: str


@dataclass(frozen=True, slots=True)
class Relapse:
    """Relapse or maintained response after the course (``relapse.csv``)."""

    row_id: str
    cohort_id: str
    family: str
    drug: Drug
    route: Route
    at_risk: str
    outcome: RecordedOutcome
    measure: RelapseMeasure
    timepoint: str
    days_since_last_dose: float | None
    events: int | None
    n: int | None
    pct_reported: float | None
    events_basis: EventsBasis
    denominator_basis: DenominatorBasis
    median_days: float | None
    mean_days: float | None
    maintenance_schedule: str
    source_url: str
    locator: Verification
    notes: str


@dataclass(frozen=True, slots=True)
class PublishedSynthesis:
    """One figure of a published synthesis (``published_syntheses.csv``)."""

    source_id: str
    year: int
    title: str
    doi: str
    scope: str
    quantity: str
    value: str
    ci_low: float | None
    ci_high: float | None
    k: int | None
    n: int | None
    i2: float | None
    tau2: float | None
    p_value: str
    source_url: str
    notes: str

    @property
    def number(self) -> float | None:
        """`value` as a number; None where it is blank, a range or words."""
        try:
            return float(self.value)
        except ValueError:
            return None
