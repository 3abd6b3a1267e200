"""Checks of rows against each other; each yields every fault it finds.

A check looks at a row only when all the cells that it needs were read without
fault, so that one slip in a cell is told once and not again by what follows
from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ketacast.errors import Fault
from ketacast.evidence.reading import ParsedTable, Row
from ketacast.evidence.specs import TableName

Tables = Mapping[TableName, ParsedTable]

# Percentage points between a printed percentage and 100 events / n. Printed
# percentages are rounded or cut off to whole points (up to 1.0 away).
PCT_TOLERANCE: Final = 1.0

_COUNTED: Final[tuple[TableName, ...]] = ("outcomes", "early_change", "relapse")


def check_tables(tables: Tables) -> Iterator[Fault]:
    """All faults between the rows of the tables.

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


def by_cohort(tables: Tables) -> dict[str, Row]:
    """First row of each cohort."""
    cohorts: dict[str, Row] = {}
    for row in tables["cohorts"].rows:
        if row.has("cohort_id"):
            cohorts.setdefault(row.values["cohort_id"], row)
    return cohorts


def with_cohort(tables: Tables, name: TableName) -> Iterator[tuple[Row, Row]]:
    """Rows of a table beside the cohort that they belong to."""
    cohorts = by_cohort(tables)
    for row in tables[name].rows:
        cohort = cohorts.get(row.get("cohort_id"))
        if cohort is not None:
            yield row, cohort


def _duplicates(tables: Tables) -> Iterator[Fault]:
    for table in tables.values():
        key = table.spec.key
        seen: dict[tuple[object, ...], Row] = {}
        for row in table.rows:
            if not row.has(*key):
                continue
            first = seen.setdefault(tuple(row.values[name] for name in key), row)
            if first is not row:
                place = f"{first.file} line {first.line}"
                named = " + ".join(key)
                yield row.fault(key[0], f"same {named} as {place}; keep one or rename it")


def _references(tables: Tables) -> Iterator[Fault]:
    if not tables["cohorts"].complete or any(
        not row.has("cohort_id") for row in tables["cohorts"].rows
    ):
        return
    cohorts = by_cohort(tables)
    for name in _COUNTED:
        for row in tables[name].rows:
            if row.has("cohort_id") and row.values["cohort_id"] not in cohorts:
                yield row.fault("cohort_id", "no such cohort; add it to cohorts.csv or mend it")


def _families(tables: Tables) -> Iterator[Fault]:
    names: tuple[TableName, ...] = ("contrasts", "early_change", "relapse")
    for name in names:
        for row, cohort in with_cohort(tables, name):
            if not (row.has("family") and cohort.has("family")):
                continue
            family = cohort.values["family"]
            if row.values["family"] != family:
                yield row.fault("family", f"the cohort's family is {family!r}; use it here too")


def _sources(tables: Tables) -> Iterator[Fault]:
    for name in _COUNTED:
        for row, cohort in with_cohort(tables, name):
            if not (row.has("source_url") and cohort.has("doi", "pmid")):
                continue
            if not (row.get("source_url") or cohort.get("doi") or cohort.get("pmid")):
                message = "no source; give the address here or a DOI or PMID in cohorts.csv"
                yield row.fault("source_url", message)
    for row in tables["published_syntheses"].rows:
        if row.has("source_url", "doi") and not (row.get("source_url") or row.get("doi")):
            yield row.fault("source_url", "no source; give the address or the DOI")


def _counts(tables: Tables) -> Iterator[Fault]:
    for name in _COUNTED:
        for row in tables[name].rows:
            events, n, pct = row.get("events"), row.get("n"), row.get("pct_reported")
            if events is not None and row.has("events_basis") and not row.get("events_basis"):
                yield row.fault("events_basis", "blank beside events; give reported or derived")
            if events is None or n is None:
                continue
            if "denominator_basis" in row.values and not row.get("denominator_basis"):
                yield row.fault("denominator_basis", "blank beside n; give reported or assumed")
            if events > n:
                yield row.fault("events", f"more events than patients (n = {n}); mend one of them")
            elif pct is not None and abs(100 * events / n - pct) > PCT_TOLERANCE:
                printed = f"{events}/{n} is {100 * events / n:.1f} %"
                message = f"{printed}, more than {PCT_TOLERANCE:g} point away; mend the count or it"
                yield row.fault("pct_reported", message)


def _measures(tables: Tables) -> Iterator[Fault]:
    needed = {
        "count": ("events", "n"),
        "pct_only": ("pct_reported",),
        "km_probability": ("pct_reported",),
        "median_time": ("median_days",),
        "mean_time": ("mean_days",),
    }
    names: tuple[TableName, ...] = ("early_change", "relapse")
    for name in names:
        for row in tables[name].rows:
            for column in needed.get(row.get("measure"), ()):
                if row.has(column) and row.get(column) is None:
                    measure = row.values["measure"]
                    yield row.fault(column, f"blank, but the measure is {measure}; give it")


def _ordered(tables: Tables) -> Iterator[Fault]:
    pairs: tuple[tuple[TableName, str, str], ...] = (
        ("cohorts", "failed_trials_min", "failed_trials_mean"),
        ("contrasts", "trials_gap_low", "trials_gap_high"),
        ("early_change", "value_low", "value_high"),
        ("published_syntheses", "ci_low", "ci_high"),
    )
    for name, low, high in pairs:
        for row in tables[name].rows:
            first, second = row.get(low), row.get(high)
            if first is not None and second is not None and first > second:
                yield row.fault(low, f"above {high} ({row.cells[high]}); mend one of them")


def _exclusions(tables: Tables) -> Iterator[Fault]:
    for row in tables["cohorts"].rows:
        if not row.has("include_primary", "exclusion_reason"):
            continue
        reason = row.values["exclusion_reason"]
        if row.values["include_primary"] and reason:
            yield row.fault("exclusion_reason", "given for a primary cohort; leave it blank")
        elif not row.values["include_primary"] and not reason:
            yield row.fault("exclusion_reason", "blank for an excluded cohort; give `code: text`")


def _one_primary_per_family(tables: Tables) -> Iterator[Fault]:
    seen: dict[str, Row] = {}
    for row in by_cohort(tables).values():
        if not (row.get("include_primary") and row.has("family")):
            continue
        first = seen.setdefault(row.values["family"], row)
        if first is not row:
            other = first.values["cohort_id"]
            yield row.fault(
                "include_primary",
                f"family {row.values['family']!r} already has the primary cohort {other}; keep one",
            )


def _contrast_figures(tables: Tables) -> Iterator[Fault]:
    for row in tables["contrasts"].rows:
        if row.has("log_or", "se"):
            missing = [name for name in ("log_or", "se") if row.get(name) is None]
            if len(missing) == 1:
                yield row.fault(missing[0], "log_or and se come together; give both or none")
            elif missing and row.get("use_primary"):
                yield row.fault("log_or", "blank, but use_primary is yes; give log_or and se")
        for name in ("trials_gap_low", "trials_gap_high"):
            if row.get("use_primary") and row.has(name) and row.get(name) is None:
                yield row.fault(name, "blank, but use_primary is yes; give the gap in trials")


def _source_of_infusions(tables: Tables) -> Iterator[Fault]:
    for row in tables["outcomes"].rows:
        if row.get("infusions") is not None and row.get("infusions_basis") == "":
            message = "blank beside infusions; give reported, protocol or inferred"
            yield row.fault("infusions_basis", message)


_CHECKS: Final[tuple[Callable[[Tables], Iterator[Fault]], ...]] = (
    _duplicates,
    _references,
    _families,
    _sources,
    _counts,
    _measures,
    _ordered,
    _exclusions,
    _one_primary_per_family,
    _contrast_figures,
    _source_of_infusions,
)
