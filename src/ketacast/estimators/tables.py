"""Fits as tables: coefficients, predictions and printed summaries."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from ketacast.numerics.inference import Omnibus, Prediction
from ketacast.numerics.records import plain

#: Columns of a prediction, in the field's usual order.
PREDICTION_COLUMNS = ("pred", "se", "ci_lb", "ci_ub", "pi_lb", "pi_ub")
#: p-values below are written as smaller than it.
SMALLEST_P: Final = 1e-4
#: Numbers that four decimals suit.
SMALL: Final = 5e-5
LARGE: Final = 1e9


@dataclass(frozen=True, slots=True)
class Summary:
    """A fit on one screen; prints as text and renders in notebooks.

    Attributes
    ----------
    title : str
        What was fitted.
    facts : tuple of (str, str)
        Labels and values: heterogeneity, tests, fit criteria.
    coefficients : DataFrame
        One row per coefficient.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    coefficients: pd.DataFrame

    def __str__(self) -> str:
        width = max(len(label) for label, _ in self.facts)
        facts = "\n".join(f"{label:<{width}}  {value}" for label, value in self.facts)
        return f"{self.title}\n\n{facts}\n\n{_as_text(self.coefficients)}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row'>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
            for label, value in self.facts
        )
        title = html.escape(self.title)
        return f"<p>{title}</p><table>{rows}</table>{_as_html(self.coefficients)}"

    def to_dict(self) -> dict[str, Any]:
        """Give the same content as plain values."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "coefficients": self.coefficients.to_dict(orient="index"),
        }


def prediction_table(prediction: Prediction, index: pd.Index[Any]) -> pd.DataFrame:
    """Give a prediction as a table with one row per row asked for."""
    values = (
        prediction.mean,
        prediction.se,
        prediction.ci_lower,
        prediction.ci_upper,
        prediction.pi_lower,
        prediction.pi_upper,
    )
    return pd.DataFrame(dict(zip(PREDICTION_COLUMNS, values, strict=True)), index=index)


def test_facts(
    residual: tuple[float, int, float], omnibus: Omnibus
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Write the tests of residual heterogeneity and of the moderators."""
    statistic, df, p_value = residual
    reference, degrees = "chi2", f"{omnibus.df_coefficients}"
    if omnibus.df_residual is not None:
        reference, degrees = "F", f"{degrees}, {omnibus.df_residual}"
    return (
        ("Residual heterogeneity", f"Q({df}) = {_tested(statistic, p_value)}"),
        (
            "Test of moderators",
            f"{reference}({degrees}) = {_tested(omnibus.statistic, omnibus.p_value)}",
        ),
    )


def _tested(statistic: float, p_value: float) -> str:
    return "-" if np.isnan(statistic) else f"{shown(statistic)}, {shown_p(p_value)}"


def shown_p(value: float) -> str:
    """Write a p-value as reports do."""
    return "p < 0.0001" if value < SMALLEST_P else f"p = {value:.4f}"


def shown(value: float) -> str:
    """Write a number; a missing one as a dash, a very small or large one with an exponent."""
    if np.isnan(value):
        return "-"
    if value == 0.0 or SMALL <= abs(value) < LARGE:
        return f"{value + 0.0:.4f}"  # -0.0 reads as a sign
    return f"{value:.3e}"


def shown_roughly(value: float) -> str:
    """Write a percentage, ratio or criterion; a missing one as a dash."""
    return "-" if np.isnan(value) else f"{value:.2f}"


def counted(count: int, one: str, many: str) -> str:
    """Write a count with its noun."""
    return f"{count} {one if count == 1 else many}"


def column_name(field: str) -> str:
    """Name a record's field as a column: limits end in "_lb" and "_ub"."""
    return re.sub("_lower$", "_lb", re.sub("_upper$", "_ub", field))


def _p_cell(value: Any) -> str:
    return "<0.0001" if value < SMALLEST_P else shown(value)


def _as_text(table: pd.DataFrame) -> str:
    return table.to_string(
        # Two blanks between columns.
        float_format=lambda value: f" {shown(value)}",
        formatters={"p_value": lambda value: f" {_p_cell(value)}"},
        col_space=[len(name) + 1 for name in table.columns],
        na_rep="-",
    )


def _as_html(table: pd.DataFrame) -> str:
    return table.to_html(border=0, float_format=shown, formatters={"p_value": _p_cell}, na_rep="-")


@dataclass(frozen=True, slots=True)
class Result:
    """A result with names: a table, and the record of arrays that it came from.

    Attributes
    ----------
    table : DataFrame
        Named rows, such as one per coefficient.
    record : object
        Everything else, as arrays and numbers.
    """

    table: pd.DataFrame
    record: Any

    def __str__(self) -> str:
        return _as_text(self.table)

    def _repr_html_(self) -> str:
        return _as_html(self.table)

    def to_dict(self) -> dict[str, Any]:
        """Give the record as plain numbers, lists and texts."""
        return dict(plain(self.record))
