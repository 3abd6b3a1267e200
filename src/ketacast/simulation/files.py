"""Specifications in TOML or YAML files, cohorts in tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ketacast.errors import InputError, MissingDependencyError
from ketacast.simulation.documents import from_document, only, read_cohort, to_document
from ketacast.simulation.specification import Cohort, Specification

_COLUMNS: Final = ("failed_trials", "rated_by", "clinic", "clinics")
_PREVIEW: Final = 10**6
"""Bytes of a specification at most: it is read into memory before it is checked."""


def load_specification(path: Path | str) -> Specification:
    """Read a specification.

    Parameters
    ----------
    path : path
        Ends in .toml, .yaml, .yml or .json. A cohort may name a ``table`` in place of
        groups; its path, and those of clinic profiles, are relative to this file.

    Raises
    ------
    InputError
        If the file cannot be read or holds an entry that is missing, unknown or out of
        range.
    """
    file = Path(path)
    document = _parsed(file)
    cohort = document.get("cohort")
    if isinstance(cohort, Mapping):
        document = {**document, "cohort": _resolved(cohort, file.parent)}
    return from_document(document)


def save_specification(specification: Specification, path: Path | str) -> None:
    """Write a specification as TOML, YAML or JSON, by the ending; reading gives it back."""
    file = Path(path)
    document = to_document(specification)
    if file.suffix == ".toml":
        text = to_toml(document)
    elif file.suffix in (".yaml", ".yml"):
        import yaml  # noqa: PLC0415

        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    elif file.suffix == ".json":
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    else:
        raise InputError(f"cannot write {str(path)!r}; end the name in .toml, .yaml or .json")
    file.write_text(text, encoding="utf-8")


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
    weights = [name for name in ("n", "share") if name in columns]
    known = [*_COLUMNS, "n", "share"]
    only("the cohort's table", columns, known)
    if len(weights) > 1:
        raise InputError("the cohort's table has n and share; give one of them")
    for name in ("failed_trials", "rated_by"):
        if name not in columns:
            raise InputError(f"the cohort's table has no column {name!r}; add it")
    kind = weights[0] if weights else "n"
    rows = len(columns["failed_trials"])
    amounts = columns.get(kind, [1] * rows)
    added: dict[tuple[Any, ...], Any] = {}
    keys = [name for name in _COLUMNS if name in columns]
    for row in range(rows):
        key = tuple(columns[name][row] for name in keys)
        added[key] = added.get(key, 0) + amounts[row]
    groups = [{**dict(zip(keys, key, strict=True)), kind: amount} for key, amount in added.items()]
    return read_cohort({"groups": groups})


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a document as TOML: tables within a strategy or group become inline ones."""
    lines = []
    for name, value in document.items():
        if name == "cohort":
            for group in value["groups"]:
                lines += ["", "[[cohort.groups]]", *_entries(group)]
        elif name == "strategies":
            for strategy in value:
                lines += ["", "[[strategies]]", *_entries(strategy)]
        elif isinstance(value, Mapping):
            lines += ["", f"[{name}]", *_entries(value)]
        else:
            lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _entries(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_entries(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; check the path") from error
    if len(raw) > _PREVIEW:
        raise InputError(
            f"{file} has {len(raw)} bytes; a specification has at most {_PREVIEW}: put the "
            "cohort into a table of its own"
        )
    try:
        document = _decoded(file, raw.decode("utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); mend it there") from error
    if not isinstance(document, dict):
        raise InputError(f"{file} holds no tables; see docs/simulation/specification.md")
    return document


def _decoded(file: Path, text: str) -> object:
    if file.suffix == ".toml":
        import tomllib  # noqa: PLC0415

        return tomllib.loads(text)
    if file.suffix == ".json":
        return json.loads(text)
    if file.suffix in (".yaml", ".yml"):
        import yaml  # noqa: PLC0415

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    raise InputError(f"cannot read {str(file)!r}; give a .toml, .yaml or .json file")


def _resolved(cohort: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Read a cohort's table, and make the paths of profiles relative to the file."""
    section = dict(cohort)
    if "table" in section:
        if len(section) > 1:
            raise InputError("[cohort] has table and other entries; give table or groups")
        if not isinstance(section["table"], str):
            raise InputError(f"[cohort] table is {section['table']!r}; give the path of a table")
        found = cohort_from_table(base / section["table"])
        kind = "n" if found.counted else "share"
        section = {
            "groups": [
                {
                    "failed_trials": group.failed_trials,
                    "rated_by": group.rated_by,
                    "clinic": group.clinic,
                    "clinics": group.clinics,
                    kind: group.weight,
                }
                for group in found.groups
            ]
        }
    groups = section.get("groups")
    if isinstance(groups, list):
        section["groups"] = [_placed(group, base) for group in groups]
    return section


def _placed(group: object, base: Path) -> object:
    clinic = group.get("clinic") if isinstance(group, Mapping) else None
    if not isinstance(group, Mapping) or not isinstance(clinic, str):
        return group
    return (
        group
        if clinic in ("new", "average", "")
        else {**group, "clinic": str((base / clinic).resolve())}
    )


def _columns(table: object) -> dict[str, list[Any]]:
    """Columns as lists of plain values."""
    if isinstance(table, str | Path):
        table = _read_table(Path(table))
    if hasattr(table, "to_pydict"):  # pyarrow
        return dict(table.to_pydict())
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        found = table.to_dict(as_series=False) if _is_polars(table) else table.to_dict("list")
        return {str(name): list(values) for name, values in found.items()}
    raise InputError(
        f"the cohort is a {type(table).__name__}; give a table of pandas, Polars or pyarrow, or "
        "the path of a .csv or .parquet file"
    )


def _is_polars(table: object) -> bool:
    return type(table).__module__.partition(".")[0] == "polars"


def _read_table(path: Path) -> object:
    import pandas as pd  # noqa: PLC0415

    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"cannot read the cohort {str(path)!r}; give a .csv or .parquet file")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'ketacast[simulate]'"
        ) from error
    except ValueError as error:  # pandas' and pyarrow's parsers
        raise InputError(f"{path} cannot be read ({error}); mend it there") from error
