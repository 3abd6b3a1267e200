"""Course dynamics: how strongly a patient's statuses are tied, from early-change counts.

The recipe names rows of ``early_change.csv`` that form 2 x 2 tables (early by final
status); their fit gives the spread over clinics of w, the correlation of a patient's
latent status between any two infusions. Every draw of the model gets its own w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.recipe_checks import number, only
from ketacast.errors import RecipeError
from ketacast.evidence import EarlyChange, Evidence
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.propensity_fit import (
    PropensityPosterior,
    PropensityPriors,
    fit_propensity,
    new_clinic_draws,
)

Float = NDArray[np.float64]

PROBABILITIES: Final = (0.025, 0.1, 0.5, 0.9, 0.975)
"""Quantiles of a new clinic's w that are reported."""

_PRIORS: Final = {"mu_mean": (-20.0, 20.0), "mu_sd": (0.01, 20.0), "sd_scale": (0.01, 20.0),
                  "margin_sd": (0.01, 20.0)}  # fmt: skip
_TABLE_ENTRIES: Final = {"early_yes", "early_no", "early_yes_counts"}


@dataclass(frozen=True, slots=True)
class TableRule:
    """Which rows form one 2 x 2 table.

    Attributes
    ----------
    early_no : str
        Row of patients without the early status.
    early_yes : str or None
        Row of those with it.
    early_yes_counts : (int, int) or None
        Events and n of those with it, where no row prints them.
    """

    early_no: str
    early_yes: str | None
    early_yes_counts: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class DynamicsRules:
    """Rows and priors of the course dynamics (section ``[dynamics]`` of the recipe)."""

    priors: PropensityPriors
    tables: tuple[TableRule, ...]

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> DynamicsRules:
        """Read the recipe's ``[dynamics]`` section.

        Raises
        ------
        RecipeError
            If an entry is missing, unknown or out of range.
        """
        only(table, "dynamics", {*_PRIORS, "tables"})
        entries = table.get("tables")
        if not isinstance(entries, list) or not entries:
            raise RecipeError(
                f"[dynamics] tables is {entries!r}; give at least one [[dynamics.tables]]"
            )
        priors = {
            name: number(table, "dynamics", name, *bounds) for name, bounds in _PRIORS.items()
        }
        rules = tuple(
            _table_rule(entry, f"dynamics.tables[{i}]") for i, entry in enumerate(entries)
        )
        return cls(priors=PropensityPriors(**priors), tables=rules)


@dataclass(frozen=True, slots=True)
class EarlyTable:
    """One 2 x 2 table: early by final status.

    Attributes
    ----------
    family : str
        Cohort family.
    rows : tuple of str
        Evidence rows it comes from.
    early, final : str
        What was rated when, as printed.
    counts : (int, int, int, int)
        Patients yes-yes, yes-no, no-yes, no-no.
    """

    family: str
    rows: tuple[str, ...]
    early: str
    final: str
    counts: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Dynamics:
    """Fitted course dynamics.

    Attributes
    ----------
    rules : DynamicsRules
        Rows and priors.
    tables : tuple of EarlyTable
        Counts used.
    posterior : PropensityPosterior
        Posterior of mu, sd and w (:mod:`ketacast.numerics.propensity_fit`).
    """

    rules: DynamicsRules
    tables: tuple[EarlyTable, ...]
    posterior: PropensityPosterior

    def draws(self, draws: EqualDraws) -> Float:
        """Draws of a new clinic's w, one per draw of the model and unrelated to it, (n,)."""
        beside = np.concatenate([draws.beta, draws.tau, draws.scores], axis=1)
        return new_clinic_draws(self.posterior, beside)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the artifact: priors, tables, posterior summaries."""
        fit, priors = self.posterior, self.rules.priors
        quantiles = fit.new_quantile(np.array(PROBABILITIES)).tolist()
        return {
            "priors": {name: getattr(priors, name) for name in _PRIORS},
            "tables": [
                {
                    "family": table.family,
                    "rows": list(table.rows),
                    "early": table.early,
                    "final": table.final,
                    "counts": list(table.counts),
                    "propensity": {"mean": float(mean), "sd": float(sd)},
                }
                for table, mean, sd in zip(self.tables, fit.w_mean, fit.w_sd, strict=True)
            ],
            "mu": {"mean": fit.mu_mean, "sd": fit.mu_sd},
            "sd": {"mean": fit.sd_mean, "sd": fit.sd_sd},
            "new_clinic": {
                "mean": fit.new_mean,
                "sd": fit.new_sd,
                "quantiles": {
                    f"{p:g}": value for p, value in zip(PROBABILITIES, quantiles, strict=True)
                },
            },
        }


def fit_dynamics(evidence: Evidence, rules: DynamicsRules) -> Dynamics:
    """Fit the course dynamics to early-change counts.

    Parameters
    ----------
    evidence : Evidence
        Checked evidence.
    rules : DynamicsRules
        Rows and priors.

    Returns
    -------
    Dynamics

    Raises
    ------
    RecipeError
        If a named row does not exist, prints no counts, or rows do not belong together.
    ConvergenceError
        If the posterior does not settle.
    """
    tables = early_tables(evidence, rules)
    posterior = fit_propensity([table.counts for table in tables], rules.priors)
    return Dynamics(rules=rules, tables=tables, posterior=posterior)


def early_tables(evidence: Evidence, rules: DynamicsRules) -> tuple[EarlyTable, ...]:
    """Form the 2 x 2 tables that the rules name; see :func:`fit_dynamics`."""
    rows = {row.row_id: row for row in evidence.early_change}
    tables = tuple(_early_table(rows, rule) for rule in rules.tables)
    families = [table.family for table in tables]
    if len(set(families)) < len(families):
        raise RecipeError(f"[dynamics] families {families} repeat; give one table per family")
    return tables


def halved_logit(propensity: Float) -> Float:
    """Propensities with half their logit: the sensitivity analysis of weaker ties.

    Parameters
    ----------
    propensity : (n,) float array
        w in (0, 1).

    Returns
    -------
    (n,) float array
        Nearer to 0.5.
    """
    root = np.sqrt(propensity)
    result: Float = root / (root + np.sqrt(1.0 - propensity))
    return result


def _early_table(rows: Mapping[str, EarlyChange], rule: TableRule) -> EarlyTable:
    no = _row(rows, rule.early_no)
    no_events, no_n = _counts(no, early=False)
    names: tuple[str, ...] = (rule.early_no,)
    if rule.early_yes is None:
        assert rule.early_yes_counts is not None  # noqa: S101  # one of the two is given
        yes_events, yes_n = rule.early_yes_counts
    else:
        yes = _row(rows, rule.early_yes)
        for name in ("family", "early_timepoint", "outcome", "final_timepoint"):
            if getattr(yes, name) != getattr(no, name):
                raise RecipeError(
                    f"[dynamics] {rule.early_yes} and {rule.early_no} differ in {name} "
                    f"({getattr(yes, name)!r}, {getattr(no, name)!r}); pair rows of one table"
                )
        yes_events, yes_n = _counts(yes, early=True)
        names = (rule.early_yes, rule.early_no)
    return EarlyTable(
        family=no.family,
        rows=names,
        early=f"{no.early_criterion}, {no.early_timepoint}",
        final=f"{no.outcome}, {no.final_timepoint}",
        counts=(yes_events, yes_n - yes_events, no_events, no_n - no_events),
    )


def _row(rows: Mapping[str, EarlyChange], row_id: str) -> EarlyChange:
    if row_id not in rows:
        raise RecipeError(f"[dynamics] {row_id!r} is not in early_change.csv; check the row id")
    return rows[row_id]


def _counts(row: EarlyChange, *, early: bool) -> tuple[int, int]:
    if row.events is None or row.n is None:
        raise RecipeError(f"[dynamics] {row.row_id} prints no counts; name a row with events and n")
    wanted = "yes" if early else "no"
    if row.early_status != wanted:
        raise RecipeError(
            f"[dynamics] {row.row_id} has early status {row.early_status!r}; "
            f"name a row with {wanted!r} here"
        )
    return row.events, row.n


def _table_rule(entry: object, where: str) -> TableRule:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"[{where}] is {entry!r}; give a table")
    only(entry, where, _TABLE_ENTRIES)
    no, yes, counts = (
        entry.get("early_no"), entry.get("early_yes"), entry.get("early_yes_counts"),
    )  # fmt: skip
    if not isinstance(no, str) or not no:
        raise RecipeError(f"[{where}] early_no is {no!r}; give a row id of early_change.csv")
    if (yes is None) == (counts is None):
        raise RecipeError(f"[{where}] give early_yes (a row id) or early_yes_counts, not both")
    if yes is not None and (not isinstance(yes, str) or not yes):
        raise RecipeError(f"[{where}] early_yes is {yes!r}; give a row id of early_change.csv")
    if counts is None:
        return TableRule(early_no=no, early_yes=yes, early_yes_counts=None)
    if (
        not isinstance(counts, list)
        or len(counts) != 2
        or not all(type(value) is int for value in counts)
        or not 0 <= counts[0] <= counts[1]
    ):
        raise RecipeError(f"[{where}] early_yes_counts is {counts!r}; give [events, n]")
    return TableRule(early_no=no, early_yes=None, early_yes_counts=(counts[0], counts[1]))
