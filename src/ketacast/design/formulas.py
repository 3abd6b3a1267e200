"""Formulas over a table's columns, read and encoded by formulaic.

A formula is a Python expression over the columns: never take one from a
source you do not trust.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from ketacast.arrays import FloatArray
from ketacast.errors import InputError

#: Rounding of a row's values, as a share of the largest in their column.
SAME: Final = 1e-8
#: formulaic's name of the intercept.
_ONES: Final = "Intercept"


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A formula's parts.

    Attributes
    ----------
    terms : object
        formulaic's right-hand side.
    response : str or None
        The column on the left-hand side.
    variables : tuple of str
        Columns that the right-hand side uses, sorted.
    """

    terms: Any
    response: str | None
    variables: tuple[str, ...]


def parse_formula(text: str, columns: Collection[str]) -> ParsedFormula:
    """Read "ablat + C(alloc)", "~ ablat", "yi ~ bs(year, df=4) - 1" and the like.

    Parameters
    ----------
    text : str
        The formula.
    columns : collection of str
        Names of the table's columns.

    Raises
    ------
    InputError
        For text that is no formula, several right-hand sides, a left-hand side that is
        not one column's name, or a column that is not there.
    """
    from formulaic import Formula, SimpleFormula  # noqa: PLC0415 - a third of a second
    from formulaic.errors import FormulaicError  # noqa: PLC0415

    if not text.rpartition("~")[2].strip():
        raise InputError(f"the formula {text!r} has no right-hand side; give '1' for the intercept")
    try:
        formula = Formula(text)
    except (FormulaicError, SyntaxError) as error:
        if "`.` operator" in str(error):
            raise InputError(
                f"the formula {text!r} uses '.' for all columns, effects and variances among them; "
                "name the moderators instead"
            ) from error
        raise InputError(
            f"the formula {text!r} cannot be read ({_plain(error)}); write it like "
            "'yi ~ ablat + C(alloc)'"
        ) from error
    terms = formula if isinstance(formula, SimpleFormula) else getattr(formula, "rhs", None)
    if not isinstance(terms, SimpleFormula):
        raise InputError(f"the formula {text!r} has several parts; give one right-hand side")
    response = None
    if terms is not formula:
        left = [str(term) for term in formula.lhs]
        response = left[0].strip("`")
        if len(left) != 1 or {response} != set(formula.lhs.required_variables):
            raise InputError(
                f"the left-hand side of {text!r} is not one column's name; compute the effect "
                "sizes first and name their column"
            )
    variables = _variables(terms, columns)
    if response in variables:
        raise InputError(
            f"the formula {text!r} has {response!r} on both sides; drop it on the right"
        )
    return ParsedFormula(terms, response, variables)


def fit_formula(
    formula: ParsedFormula, table: pd.DataFrame, *, intercept: bool
) -> tuple[FloatArray, Any]:
    """Evaluate a formula and learn its levels, knots and centres.

    Parameters
    ----------
    formula : ParsedFormula
        From :func:`parse_formula`.
    table : DataFrame
        Its columns, complete, each float64 or category.
    intercept : bool
        False removes the intercept; a formula may remove it itself.

    Returns
    -------
    matrix : ndarray, shape (k, q)
    encoding : object
        For :func:`apply_formula`.

    Raises
    ------
    InputError
        If it cannot be evaluated, or gives a row other values alone than among others.
    """
    from formulaic import SimpleFormula  # noqa: PLC0415

    terms = [term for term in formula.terms if intercept or str(term) != "1"]
    if not terms:
        return np.empty((len(table), 0)), None
    matrix, encoding = _evaluate(SimpleFormula(terms).get_model_matrix, table)
    if np.isfinite(matrix).all():
        _refuse_dependence(matrix, encoding, table)
    return matrix, encoding


def _refuse_dependence(matrix: FloatArray, encoding: Any, table: pd.DataFrame) -> None:
    """Refuse a formula such as ``x - np.mean(x)``, whose mean would be that of new rows."""
    size = np.abs(matrix).max(axis=0)
    for row in {0, len(table) - 1}:
        alone = apply_formula(encoding, table.iloc[[row]])[0]
        same = np.abs(alone - matrix[row]) <= SAME * size
        if not same.all():
            name = encoding.column_names[int(np.argmin(same))]
            raise InputError(
                f"{name!r} gives a row other values alone than among other rows, so predictions "
                "would change with what else is asked for; use center(x), scale(x), poly(x) or "
                "bs(x), which keep the values of the fit, or compute a column first"
            )


def apply_formula(encoding: Any, table: pd.DataFrame) -> FloatArray:
    """Evaluate a fitted encoding on new rows.

    Raises
    ------
    InputError
        If it cannot be evaluated there: a level or a value outside what was fitted.
    """
    for variable in table.columns:
        known = coded_levels(encoding, variable)
        unknown = [level for level in table[variable].unique() if known and level not in known]
        if unknown:
            levels = ", ".join(f"{level}" for level in known)
            raise InputError(
                f"X column {variable!r} has the level {unknown[0]}, which was not in the fit; "
                f"give one of {levels}, or fit with studies of that level"
            )
    return _evaluate(encoding.get_model_matrix, table)[0]


def coded_levels(encoding: Any, variable: str) -> tuple[Any, ...]:
    """Levels of a column that the formula makes a factor, ``C(column)``; () if it does not."""
    names = {variable, f"`{variable}`"}
    for factor, contrasts in encoding.factor_contrasts.items():
        inside = re.match(r"C\(\s*(`[^`]*`|[^,()]*?)\s*[,)]", str(factor.expr))
        if inside is not None and inside[1] in names:
            return tuple(contrasts.levels)
    return ()


def encoded_names(encoding: Any, intercept: str) -> tuple[str, ...]:
    """Names of an encoding's columns: the intercept's as given, a level in brackets."""
    if encoding is None:
        return ()
    names = (str(name) for name in encoding.column_names)
    return tuple(intercept if name == _ONES else name.replace("[T.", "[") for name in names)


def _variables(terms: Any, columns: Collection[str]) -> tuple[str, ...]:
    """Columns that the terms use; formulaic's own list misses those inside splines."""
    used: set[str] = set()
    for factor in {factor for term in terms for factor in term.factors}:
        if factor.eval_method is factor.EvalMethod.LITERAL:
            continue
        text = str(factor.expr)
        if factor.eval_method is factor.EvalMethod.LOOKUP:
            if text not in columns:
                listed = ", ".join(repr(name) for name in columns)
                raise InputError(f"the formula uses {text!r}, which data lacks; it has {listed}")
            used.add(text)
            continue
        # `a name` and Q("a name") are both ways to write a name that Python has not.
        quoted = set(re.findall(r"`([^`]*)`", text))
        quoted |= {name for _, name in re.findall(r"\bQ\((['\"])(.*?)\1\)", text)}
        bare = ast.walk(ast.parse(re.sub(r"`[^`]*`", "_", text).strip(), mode="eval"))
        names = quoted | {node.id for node in bare if isinstance(node, ast.Name)}
        used |= names & set(columns)
    return tuple(sorted(used))


def _evaluate(get_model_matrix: Any, table: pd.DataFrame) -> tuple[FloatArray, Any]:
    from formulaic.errors import DataMismatchWarning, FormulaicError  # noqa: PLC0415

    try:
        with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
            # Unknown levels would otherwise be read as the reference level.
            warnings.simplefilter("error", DataMismatchWarning)
            found = get_model_matrix(table, context={}, na_action="ignore")
    except (FormulaicError, DataMismatchWarning, ArithmeticError, ValueError, TypeError) as error:
        raise InputError(
            f"the formula cannot be evaluated: {_plain(error)}; check its names and functions "
            "(C(x) makes a factor), and that new values lie where it was fitted"
        ) from error
    return found.to_numpy(dtype=np.float64), found.model_spec


def _plain(error: Exception | Warning) -> str:
    return " ".join(re.sub(r"[⧛⧚]?\x1b?\[[0-9;]*m|[⧛⧚]", "", str(error)).split())
