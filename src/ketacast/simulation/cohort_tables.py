"""Cohorts in tables of pandas, Polars and pyarrow, or in files of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from ketacast.errors import InputError, MissingDependencyError
from ketacast.options import shown
from ketacast.simulation.documents import only, read_cohort
from ketacast.simulation.specification import MOST_CELLS, Cohort

_COLUMNS: Final = ("failed_trials", "rated_by", "clinic", "clinics")
_WEIGHTS: Final = ("n", "share")


def cohort_from_table(table: object) -> Cohort:
    """Make a cohort from a table with one row for each group, or for each patient.

    Parameters
    ----------
    table : DataFrame of pandas, Polars or pyarrow, or path
        Columns ``failed_trials`` and ``rated_by``, ``n`` or ``share`` (without both, each
        row is one patient), and if wanted ``clinic`` and ``clinics``. A path ends in .csv
        or .parquet.

    Returns
    -------
    Cohort
        Equal rows are added up, in the order in which they first appear.

    Raises
    ------
    InputError
        For a column that is missing or unknown, and values out of range.
    """
    columns = _columns(table)
    only("the cohort's table", columns, [*_COLUMNS, *_WEIGHTS])
    weights = [name for name in _WEIGHTS if name in columns]
    if len(weights) > 1:
        raise InputError("the cohort's table has n and share; give one of them")
    for name in ("failed_trials", "rated_by"):
        if name not in columns:
            raise InputError(f"the cohort's table has no column {name!r}; add it")
    kind = weights[0] if weights else "n"
    rows = len(columns["failed_trials"])
    if not rows:
        raise InputError("the cohort's table has no rows; give one for each group or patient")
    keys = [name for name in _COLUMNS if name in columns]
    added: dict[tuple[Any, ...], Any] = {}
    for row in range(rows):
        key = tuple(_plain(name, columns[name][row], row) for name in keys)
        amount = _plain(kind, columns[kind][row], row) if weights else 1
        added[key] = added.get(key, 0) + amount
        if len(added) > MOST_CELLS:
            raise InputError(
                f"the cohort's table has more than {MOST_CELLS:,} different groups; give at most "
                f"{MOST_CELLS:,} combinations of {', '.join(keys)}"
            )
    groups = [{**dict(zip(keys, key, strict=True)), kind: amount} for key, amount in added.items()]
    return read_cohort({"groups": groups})


def _plain(name: str, value: object, row: int) -> Any:
    """One value of the table; whole numbers that a missing neighbour made real are whole."""
    plain = value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
    if name in ("rated_by", "clinic"):
        good = isinstance(plain, str)
    else:
        good = isinstance(plain, int | float) and not isinstance(plain, bool)
        good = good and math.isfinite(plain)  # type: ignore[arg-type]
    if not good:
        kind = "text" if name in ("rated_by", "clinic") else "a number"
        raise InputError(
            f"row {row + 1} of the cohort's table: {name} is {shown(plain)}; give {kind}"
        )
    if name != "share" and isinstance(plain, float) and plain.is_integer():
        return int(plain)
    return plain


def _columns(table: object) -> dict[str, list[Any]]:
    """Columns as lists of plain values."""
    if isinstance(table, str | Path):
        table = _read_table(Path(table))
    if hasattr(table, "to_pydict"):  # pyarrow
        _each_once([str(name) for name in getattr(table, "column_names", [])])
        return dict(table.to_pydict())
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        _each_once([str(name) for name in table.columns])
        found = table.to_dict(as_series=False) if _is_polars(table) else table.to_dict("list")
        return {str(name): list(values) for name, values in found.items()}
    raise InputError(
        f"the cohort is a {type(table).__name__}; give a table of pandas, Polars or pyarrow, or "
        "the path of a .csv or .parquet file"
    )


def _each_once(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the cohort's table has the column {name!r} twice; give it once")


def _is_polars(table: object) -> bool:
    return type(table).__module__.partition(".")[0] == "polars"


def _read_table(path: Path) -> object:
    import pandas as pd  # noqa: PLC0415

    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"cannot read the cohort {str(path)!r}; give a .csv or .parquet file")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the path"
        ) from error
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'ketacast[simulate]'"
        ) from error
    except (ValueError, NotImplementedError) as error:  # pandas' and pyarrow's parsers
        raise InputError(f"{path} cannot be read ({error}); mend it there") from error
