"""The six tables, column by column: read, checked and documented from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from ketacast.evidence import records as r
from ketacast.evidence.specs import (
    ColumnSpec,
    TableName,
    TableSpec,
    choice,
    flag,
    identifier,
    integer,
    number,
    percent,
    special,
    text,
)

# Upper ends are far beyond anything published; they catch slips of the keyboard.
_MAX_PATIENTS: Final = 1_000_000
_MAX_DAYS: Final = 3650
_MAX_INFUSIONS: Final = 100
_MAX_SCORE: Final = 200

_COHORT = identifier("cohort_id", "row of cohorts.csv")
_NOTES = text("notes", "remarks; uncertain or assumed items are named here")
_URL = special("source_url", "url", "where the number was read, or the record of that paper")
_LOCATOR = choice("locator", get_args(r.Verification), "part of the source that prints the number")
_FAMILY = identifier("family", "as in cohorts.csv")
_DRUG = choice("drug", get_args(r.Drug), "drug given")
_ROUTE = choice("route", get_args(r.Route), "route of administration (in: nasal, sl: sublingual)")
_EVENTS = integer("events", 0, _MAX_PATIENTS, "patients with the outcome", unit="patients")
_N = integer("n", 1, _MAX_PATIENTS, "patients in the denominator", unit="patients")
_PCT = percent("pct_reported", "percentage as printed")
_EVENTS_BASIS = choice(
    "events_basis", get_args(r.EventsBasis), "reported: printed; derived: rebuilt from a percentage"
)
_DENOMINATOR_BASIS = choice(
    "denominator_basis",
    get_args(r.DenominatorBasis),
    "assumed: the n behind the percentage is not printed",
)


def _outcome(*outcomes: r.RecordedOutcome) -> ColumnSpec:
    return choice("outcome", outcomes, "what is counted or measured")


COHORTS: Final = TableSpec(
    "cohorts",
    "one row per cohort, or per drug arm of a trial",
    r.Cohort,
    (
        identifier("cohort_id", "name of the cohort"),
        identifier("family", "overlapping or possibly overlapping samples share a family"),
        text("first_author", "family name"),
        integer("year", 1990, 2100, "year of publication"),
        text("title", "title of the paper, or a description in brackets"),
        text("journal", "abbreviated journal"),
        special("doi", "doi", "digital object identifier"),
        special("pmid", "pmid", "PubMed identifier"),
        text("country", "country or countries"),
        choice("design", get_args(r.Design), "design of the study"),
        choice(
            "setting",
            get_args(r.Setting),
            "real_world: routine clinic, registry or naturalistic programme; "
            "trial: fixed research protocol, open-label or randomised",
        ),
        choice(
            "population",
            get_args(r.Population),
            "trd_mixed also where the polarity is not stated",
        ),
        _DRUG,
        _ROUTE,
        text("dose_mg_per_kg", "dose or range of doses, mg per kg"),
        text("schedule", "planned course"),
        integer("n_enrolled", 1, _MAX_PATIENTS, "patients enrolled or treated", unit="patients"),
        number("age_mean", 0, 120, "mean age", unit="years"),
        number("age_sd", 0, 60, "SD of age", unit="years", above_low=True),
        percent("female_pct", "women"),
        percent("bipolar_pct", "patients with bipolar disorder"),
        integer("failed_trials_min", 0, 50, "failed trials required for entry", unit="trials"),
        number("failed_trials_mean", 0, 50, "mean number of failed trials", unit="trials"),
        number("failed_trials_sd", 0, 50, "SD of the failed trials", unit="trials", above_low=True),
        choice(
            "failed_trials_scope", get_args(r.FailedTrialsScope), "period in which trials count"
        ),
        text("baseline_scale", "depression scale(s), separated by semicolons"),
        number("baseline_mean", 0, _MAX_SCORE, "mean score before treatment", unit="points"),
        number("baseline_sd", 0, _MAX_SCORE, "SD of that score", unit="points", above_low=True),
        choice(
            "in_alnefeesi2022",
            get_args(r.InSynthesis),
            "whether the cohort is among the 79 studies of the anchor synthesis",
        ),
        choice("verification", get_args(r.Verification), "best source seen for the cohort"),
        flag("include_primary", "whether the cohort enters the primary fit"),
        special("exclusion_reason", "reason", "why not; blank for a primary cohort"),
        _NOTES,
    ),
    key=("cohort_id",),
)

OUTCOMES: Final = TableSpec(
    "outcomes",
    "cohort x arm x outcome x time point",
    r.OutcomeCount,
    (
        _COHORT,
        text("arm", "arm or subgroup", required=True),
        flag("is_control", "whether the arm is a comparator"),
        _outcome("response", "remission", "symptom_score", "relapse", "maintained_response"),
        text("timepoint", "when rated, in words", required=True),
        number("days_from_first_infusion", 0, _MAX_DAYS, "when rated", unit="days"),
        number("infusions", 0, _MAX_INFUSIONS, "doses received when rated", unit="infusions"),
        choice(
            "infusions_basis",
            get_args(r.InfusionsBasis),
            "reported; protocol: as planned; inferred: from the schedule",
        ),
        _EVENTS,
        _N,
        _PCT,
        _EVENTS_BASIS,
        _DENOMINATOR_BASIS,
        number("mean", -_MAX_SCORE, _MAX_SCORE, "mean score or change, see criterion"),
        number("sd", 0, _MAX_SCORE, "SD of that score or change", above_low=True),
        text("scale", "rating scale"),
        choice("scorer", get_args(r.Scorer), "who rates"),
        text("criterion", "definition of the outcome"),
        choice(
            "analysis",
            get_args(r.Analysis),
            "itt: all who started; completer: those rated or finished",
        ),
        choice(
            "rating_timing",
            get_args(r.RatingTiming),
            "trough: before the next infusion; best_point: best value over a window; "
            "cumulative: ever reached",
        ),
        flag("primary", "whether this is the cohort's row of the primary fit"),
        _URL,
        _LOCATOR,
        _NOTES,
        choice(
            "model_use",
            get_args(r.ModelUse),
            "primary: primary fit; time_course: earlier infusion; blank: context only",
        ),
    ),
    key=("cohort_id", "arm", "outcome", "timepoint", "scale", "analysis"),
)

CONTRASTS: Final = TableSpec(
    "contrasts",
    "more versus less treatment-resistant patients",
    r.Contrast,
    (
        identifier("contrast_id", "name of the contrast"),
        identifier("cohort_id", "row of cohorts.csv, or a paper without a row there"),
        identifier("family", "as in cohorts.csv where the cohort has a row"),
        _outcome("response", "remission", "symptom_score"),
        text("more_resistant_group", "group with more failed trials", required=True),
        text("less_resistant_group", "group with fewer failed trials"),
        number("trials_gap_low", 0, 30, "least plausible difference in mean trials", unit="trials"),
        number(
            "trials_gap_high", 0, 30, "largest plausible difference in mean trials", unit="trials"
        ),
        choice("gap_basis", get_args(r.GapBasis), "assumed: a judgement, not data"),
        number("log_or", -10, 10, "log odds ratio, more v less resistant (negative: worse)"),
        number("se", 0, 10, "standard error of log_or", above_low=True),
        flag("conditional_on_response", "whether the outcome is counted among responders only"),
        choice("basis", get_args(r.ContrastBasis), "what log_or was computed from"),
        choice("verification", get_args(r.Verification), "part of the source that was seen"),
        flag("use_primary", "whether it may enter a fit"),
        _NOTES,
        special("source", "url", "paper that reports the contrast", required=True),
    ),
    key=("contrast_id",),
)

EARLY_CHANGE: Final = TableSpec(
    "early_change",
    "early status and outcome at the end of the course",
    r.EarlyChange,
    (
        identifier("row_id", "name of the row"),
        _COHORT,
        _FAMILY,
        _DRUG,
        _ROUTE,
        text("early_timepoint", "time of the early rating", required=True),
        number("early_infusions", 0, _MAX_INFUSIONS, "doses received by then", unit="infusions"),
        text("early_criterion", "what counts as early change"),
        text("early_status", "group: yes, no or in words"),
        _outcome("response", "remission", "partial_response", "symptom_score"),
        text("final_timepoint", "time of the outcome", required=True),
        number("final_infusions", 0, _MAX_INFUSIONS, "doses received by then", unit="infusions"),
        choice("measure", get_args(r.EarlyMeasure), "kind of figure the row holds"),
        _EVENTS,
        _N,
        _PCT,
        _EVENTS_BASIS,
        number("value", -1000, 1000, "figure other than a count, by measure"),
        number("value_low", -1000, 1000, "lower limit of value"),
        number("value_high", -1000, 1000, "upper limit of value"),
        _URL,
        _LOCATOR,
        _NOTES,
    ),
    key=("row_id",),
)

RELAPSE: Final = TableSpec(
    "relapse",
    "relapse and maintained response after the course",
    r.Relapse,
    (
        identifier("row_id", "name of the row"),
        _COHORT,
        _FAMILY,
        _DRUG,
        _ROUTE,
        text("at_risk", "who was followed", required=True),
        _outcome("relapse", "maintained_response"),
        choice("measure", get_args(r.RelapseMeasure), "kind of figure the row holds"),
        text("timepoint", "time, in words", required=True),
        number("days_since_last_dose", 0, _MAX_DAYS, "follow-up time", unit="days"),
        _EVENTS,
        _N,
        _PCT,
        _EVENTS_BASIS,
        _DENOMINATOR_BASIS,
        number("median_days", 0, _MAX_DAYS, "median time to relapse", unit="days", above_low=True),
        number("mean_days", 0, _MAX_DAYS, "mean time to relapse", unit="days", above_low=True),
        text("maintenance_schedule", "treatment during follow-up", required=True),
        _URL,
        _LOCATOR,
        _NOTES,
    ),
    key=("row_id",),
)

PUBLISHED_SYNTHESES: Final = TableSpec(
    "published_syntheses",
    "figures of published syntheses, for comparison only",
    r.PublishedSynthesis,
    (
        identifier("source_id", "name of the synthesis; several rows share it"),
        integer("year", 1990, 2100, "year of publication", required=True),
        text("title", "title of the paper", required=True),
        special("doi", "doi", "digital object identifier"),
        text("scope", "studies that the figure covers", required=True),
        text("quantity", "what the figure is", required=True),
        text("value", "the figure as printed: a number, a range or words"),
        number("ci_low", -1000, 1000, "lower limit of the 95 % interval"),
        number("ci_high", -1000, 1000, "upper limit of the 95 % interval"),
        integer("k", 1, 100_000, "studies", unit="studies"),
        integer("n", 1, 100_000_000, "patients", unit="patients"),
        percent("i2", "share of the variance due to heterogeneity"),
        number("tau2", 0, 1000, "between-study variance"),
        text("p_value", "p-value as printed"),
        _URL,
        _NOTES,
    ),
    key=("source_id", "scope", "quantity"),
)

# The order in which files are read, reported and hashed.
TABLES: Final[Mapping[TableName, TableSpec]] = {
    table.name: table
    for table in (COHORTS, OUTCOMES, CONTRASTS, EARLY_CHANGE, RELAPSE, PUBLISHED_SYNTHESES)
}
