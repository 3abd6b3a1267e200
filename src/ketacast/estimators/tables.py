"""Fits as tables: coefficients, predictions and printed summaries."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ketacast.numerics.inference import Omnibus, Prediction
from ketacast.numerics.records import plain

#: Columns of a prediction, in the field's usual order.
PREDICTION_COLUMNS = ("pred", "se", "ci_lb", "ci_ub", "pi_lb", "pi_ub")


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
        return f"{self.title}\n\n{facts}\n\n{_rounded(self.coefficients).to_string()}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row'>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
            for label, value in self.facts
        )
        table = _rounded(self.coefficients).to_html(border=0)
        return f"<p>{html.escape(self.title)}</p><table>{rows}</table>{table}"

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
    return "-" if np.isnan(statistic) else f"{statistic:.4f}, {shown_p(p_value)}"


def shown_p(value: float) -> str:
    """Write a p-value as reports do."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.4f}"


def shown(value: float, digits: int = 4) -> str:
    """Write a number; a missing one as a dash."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    return table.round(4) + 0.0  # -0.0 reads as a sign


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
        return _rounded(self.table).to_string()

    def _repr_html_(self) -> str:
        return str(_rounded(self.table).to_html(border=0))

    def to_dict(self) -> dict[str, Any]:
        """Give the record as plain numbers, lists and texts."""
        return dict(plain(self.record))
