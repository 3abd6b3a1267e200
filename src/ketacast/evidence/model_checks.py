"""Checks of the rows that the model uses (``model_use`` of outcomes.csv).

The model conditions remission on response and takes one primary row per cohort
and outcome; rows that break this would be fitted without a sign, so they are
refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ketacast.errors import Fault
from ketacast.evidence.checks import Tables, by_cohort, with_cohort
from ketacast.evidence.reading import Row


def check_model_rows(tables: Tables) -> Iterator[Fault]:
    """All faults of the rows that enter the model.

    Parameters
    ----------
    tables : mapping of TableName to ParsedTable
        All six tables as read.

    Yields
    ------
    Fault
        In no particular order.
    """
    for check in _CHECKS:
        yield from check(tables)


def _model_rows(tables: Tables) -> Iterator[Row]:
    return (row for row in tables["outcomes"].rows if row.get("model_use"))


def _same_flag(tables: Tables) -> Iterator[Fault]:
    for row in tables["outcomes"].rows:
        if not row.has("primary", "model_use"):
            continue
        if row.values["primary"] != (row.values["model_use"] == "primary"):
            expected = "yes" if row.values["model_use"] == "primary" else "no"
            yield row.fault("primary", f"disagrees with model_use; give {expected} or mend that")


def _usable(tables: Tables) -> Iterator[Fault]:
    for row in _model_rows(tables):
        for column in ("events", "n"):
            if row.has(column) and row.get(column) is None:
                yield row.fault(column, "blank in a row that the model uses; give the count")
        if row.get("is_control"):
            yield row.fault("is_control", "the model uses no control arm; clear model_use")
        if row.has("outcome") and row.values["outcome"] not in ("response", "remission"):
            message = "the model uses response and remission only; clear model_use"
            yield row.fault("outcome", message)
        if row.values["model_use"] == "time_course" and (
            row.has("infusions") and row.get("infusions") is None
        ):
            yield row.fault("infusions", "blank in a time-course row; give the doses received")


def _right_cohort(tables: Tables) -> Iterator[Fault]:
    for row, cohort in with_cohort(tables, "outcomes"):
        use = row.get("model_use")
        if not use:
            continue
        wanted = (("drug", "racemic_ketamine"), ("route", "iv"))
        wrong = [name for name, value in wanted if cohort.has(name) and cohort.get(name) != value]
        if wrong:
            found = " ".join(f"{name} {cohort.get(name)}" for name in wrong)
            message = f"the cohort has {found}; the model takes intravenous racemic ketamine only"
            yield row.fault("model_use", message)
        elif use == "primary" and cohort.get("include_primary") is False:
            message = "primary row of a cohort with include_primary no; mend one of them"
            yield row.fault("model_use", message)


def _family_in_the_model(tables: Tables) -> Iterator[Fault]:
    """Refuse a time-course row of a family that has no primary cohort.

    Such a row says how that family's patients did earlier; patients excluded from the
    primary set (age, population) may not come in by this door.
    """
    cohorts = by_cohort(tables).values()
    if any(not cohort.has("family", "include_primary") for cohort in cohorts):
        return
    primary = {row.values["family"] for row in cohorts if row.values["include_primary"]}
    for row, cohort in with_cohort(tables, "outcomes"):
        if row.get("model_use") == "time_course" and cohort.values["family"] not in primary:
            message = "time-course row of a family without a primary cohort; clear model_use"
            yield row.fault("model_use", message)


def _one_primary_row(tables: Tables) -> Iterator[Fault]:
    seen: dict[tuple[str, str], Row] = {}
    for row in _model_rows(tables):
        if row.values["model_use"] != "primary" or not row.has("cohort_id", "outcome"):
            continue
        first = seen.setdefault((row.values["cohort_id"], row.values["outcome"]), row)
        if first is not row:
            message = f"second primary row of this cohort and outcome, after line {first.line}"
            yield row.fault("model_use", f"{message} of {first.file}; keep one")


def _counted_once(tables: Tables) -> Iterator[Fault]:
    """Refuse the same patients twice: one row per family, outcome and number of infusions."""
    seen: dict[tuple[str, str, float], Row] = {}
    for row, cohort in with_cohort(tables, "outcomes"):
        if not row.get("model_use"):
            continue
        if not (row.has("outcome") and cohort.has("family")) or row.get("infusions") is None:
            continue
        key = (cohort.values["family"], row.values["outcome"], row.values["infusions"])
        first = seen.setdefault(key, row)
        both_primary = {row.values["model_use"], first.values["model_use"]} == {"primary"}
        if first is not row and not both_primary:
            place = f"{first.file} line {first.line}"
            message = f"{place} already gives this family, outcome and number of infusions"
            yield row.fault("model_use", f"{message}; clear model_use in one of them")


def _primary_counts_present(tables: Tables) -> Iterator[Fault]:
    outcomes = tables["outcomes"]
    needed = ("cohort_id", "outcome", "model_use", "events")
    doubtful = [row for row in outcomes.rows if not row.has(*needed)]
    if not outcomes.complete or any(not row.has("cohort_id") for row in doubtful):
        return
    settled = {row.values["cohort_id"] for row in doubtful}
    settled |= {
        row.values["cohort_id"] for row in _model_rows(tables) if row.get("model_use") == "primary"
    }
    for cohort_id, cohort in by_cohort(tables).items():
        if cohort.get("include_primary") and cohort_id not in settled:
            message = "primary cohort without a primary row in outcomes.csv; add one or give no"
            yield cohort.fault("include_primary", message)


def _remission_within_response(tables: Tables) -> Iterator[Fault]:
    """Remitters are responders, as the model conditions remission on response.

    Scale and rater are left out on purpose: the likelihood pairs the rows
    whatever they are. Rows outside the model are left alone, because an
    absolute cut-off can count remitters who are not responders.
    """
    needed = ("cohort_id", "arm", "timepoint", "infusions", "outcome", "events", "n")
    rows = [row for row in _model_rows(tables) if row.has(*needed)]
    responses: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.values["outcome"] == "response":
            responses.setdefault((row.values["cohort_id"], row.values["n"]), []).append(row)
    for row in rows:
        if row.values["outcome"] != "remission" or row.get("events") is None:
            continue
        for response in responses.get((row.values["cohort_id"], row.values["n"]), ()):
            if response.get("events") is None or not _same_time(row, response):
                continue
            if row.values["events"] > response.values["events"]:
                count = response.values["events"]
                message = f"more remitters than responders ({count} in line {response.line})"
                yield row.fault("events", f"{message}; mend the counts or clear model_use")


def _same_time(first: Row, second: Row) -> bool:
    if first.values["timepoint"] == second.values["timepoint"]:
        return True
    infusions = first.values["infusions"]
    return infusions is not None and infusions == second.values["infusions"]


_CHECKS: Final[tuple[Callable[[Tables], Iterator[Fault]], ...]] = (
    _same_flag,
    _usable,
    _right_cohort,
    _family_in_the_model,
    _one_primary_row,
    _counted_once,
    _primary_counts_present,
    _remission_within_response,
)
