"""Tables of a card, by name; every cell is read from the model's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ketacast.card.figures import coverage, percent, span
from ketacast.card.records import Table
from ketacast.card.sources import Sources
from ketacast.options import OUTCOMES, RATERS

_RATER_NAMES: Final[Mapping[str, str]] = {
    "self": "self-rated",
    "clinician": "clinician-rated",
    "unknown": "rater unknown",
}


def coverage_table(sources: Sources) -> Table:
    """Share of left-out counts inside their interval."""
    rows = []
    for group, label in (("response", "Response"), ("remission", "Remission"), ("both", "Both")):
        for level in (0.8, 0.95):
            entry = coverage(sources, group, level)
            result = entry["result"]
            rows.append(
                (
                    f"{label}, {percent(level)} % interval",
                    f"{result['count']} of {result['total']}",
                    f"{percent(result['count'] / result['total'])} %",
                    f"{percent(result['low'])} to {percent(result['high'])} %",
                    f"{percent(entry['nominal_mass'])} %",
                )
            )
    return Table(
        "Counts of left-out cohorts inside their predictive interval",
        ("Outcome and level", "Inside", "Share", "Exact 95 % limits of the share", "Ideal share"),
        tuple(rows),
    )


def calibration_table(sources: Sources) -> Table:
    """Observed and expected events of left-out cohorts."""
    rows = []
    for entry in sources.validation["calibration"]:
        total = entry["total"]
        rows.append(
            (
                str(entry["outcome"]).capitalize(),
                str(total["cohorts"]),
                f"{total['patients']:,}",
                str(total["observed"]),
                f"{total['expected']:.0f}",
                f"{total['observed'] / total['expected']:.2f}",
                f"{entry['slope']:.2f} ({span(entry['slope_ci'], '.2f')})",
            )
        )
    columns = (
        "Outcome",
        "Cohorts",
        "Patients",
        "Observed",
        "Expected",
        "Observed : expected",
        "Calibration slope (95 % interval)",
    )
    return Table("Calibration on left-out cohorts", columns, tuple(rows))


def answers_table(sources: Sources) -> Table:
    """Answers at the reference point of the model, of 100 patients."""
    content = sources.artifact.content
    table, coding = content["table"], content["coding"]
    trials, infusions = coding["reference_failed_trials"], coding["reference_infusions"]
    at_trials = table["failed_trials"].index(trials)
    at_infusions = table["infusions"].index(infusions)
    rows = []
    for outcome in OUTCOMES:
        for rater in RATERS:
            values = table["values"][outcome][at_trials][at_infusions]
            cell = dict(zip(table["columns"], values[table["raters"].index(rater)], strict=True))
            rows.append(
                (
                    f"{outcome.capitalize()}, {_RATER_NAMES[rater]}",
                    percent(cell["expected"]),
                    _limits(cell, "average_clinic 0.95"),
                    _limits(cell, "new_clinic 0.8"),
                    _limits(cell, "new_clinic 0.95"),
                )
            )
    columns = (
        "Outcome and rater",
        "Expected",
        "Average clinic, 95 %",
        "New clinic, 80 % (likely range)",
        "New clinic, 95 %",
    )
    title = f"Answers for {trials:g} failed trials and {infusions:g} infusions, of 100 patients"
    return Table(title, columns, tuple(rows))


def _limits(cell: Mapping[str, float], name: str) -> str:
    return f"{percent(cell[f'{name} low'])} to {percent(cell[f'{name} high'])}"


def coefficients_table(sources: Sources) -> Table:
    """Posterior mean, SD and 95 % interval of every parameter."""
    rows = tuple(
        (
            str(entry["name"]),
            str(entry["meaning"]),
            f"{entry['mean']:.3f}",
            f"{entry['sd']:.3f}",
            span(entry["interval_95"], ".3f"),
        )
        for entry in sources.artifact.content["coefficients"]
    )
    return Table(
        "Coefficients, logit scale",
        ("Name", "Meaning", "Posterior mean", "Posterior SD", "95 % interval"),
        rows,
    )


def single_infusion_table(sources: Sources) -> Table:
    """Events seen and expected after one infusion, by kind of study."""
    rows = tuple(_single_row(entry) for entry in sources.validation["single_infusion"])
    columns = ("Group and outcome", "Cohorts", "Patients", "Observed", "Expected")
    return Table("After one infusion", columns, rows)


def _single_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{str(entry['group']).capitalize()}, {entry['outcome']}",
        str(entry["cohorts"]),
        str(entry["patients"]),
        str(entry["observed"]),
        f"{entry['expected']:.1f}",
    )


def sensitivity_table(sources: Sources) -> Table:
    """Largest change of an answer under every variant, in percentage points."""
    rows = tuple(
        (
            str(entry["title"]),
            f"{100.0 * entry['expected_change']['size']:.1f}",
            f"{100.0 * entry['bound_change']['size']:.1f}",
        )
        for entry in sources.validation["sensitivity"]
        if entry["expected_change"]
    )
    columns = ("Variant", "Expected rate", "Bound of the 80 % range of a new clinic")
    return Table("Largest change of an answer, percentage points", columns, rows)


TABLES: Final[Mapping[str, Callable[[Sources], Table]]] = {
    "answers": answers_table,
    "calibration": calibration_table,
    "coefficients": coefficients_table,
    "coverage": coverage_table,
    "sensitivity": sensitivity_table,
    "single_infusion": single_infusion_table,
}
