"""Specifications in TOML or YAML files, cohorts in tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ketacast.errors import InputError
from ketacast.options import shown
from ketacast.simulation.cohort_tables import cohort_from_table
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.parsing import read_document
from ketacast.simulation.specification import Specification

__all__ = ["cohort_from_table", "load_specification", "save_specification", "to_toml"]


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
    document = read_document(file)
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


def _resolved(cohort: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Read a cohort's table, and make the paths of profiles relative to the file."""
    section = dict(cohort)
    if "table" in section:
        if len(section) > 1:
            raise InputError("[cohort] has table and other entries; give table or groups")
        if not isinstance(section["table"], str):
            raise InputError(
                f"[cohort] table is {shown(section['table'])}; give the path of a table"
            )
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
    if clinic in ("new", "average", "") or "\0" in clinic:
        return group
    return {**group, "clinic": str((base / clinic).resolve())}
