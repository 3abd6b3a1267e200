"""A specification as a plain document, and back: the same document gives the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, TypeVar

from ketacast.errors import InputError
from ketacast.options import shown
from ketacast.simulation.specification import (
    Cohort,
    Costs,
    Dropout,
    Group,
    Specification,
    Utilities,
)
from ketacast.simulation.strategies import (
    Extend,
    Maintenance,
    Reinduction,
    Stop,
    Strategy,
    Taper,
)

Record = TypeVar("Record")

SCHEMA_VERSION: Final = 1

_PARTS: Final[Mapping[type, Mapping[str, type]]] = {
    Strategy: {
        "taper": Taper,
        "extend": Extend,
        "maintenance": Maintenance,
        "reinduction": Reinduction,
    },
    Specification: {"dropout": Dropout, "costs": Costs, "utilities": Utilities},
}
_RUN: Final = ("title", "engine", "patients", "horizon_weeks", "draws", "seed", "classes", "levels")
_ASSUMED: Final = ("remission_share", "discount_per_year", "willingness_to_pay")
_SECTIONS: Final = ("dropout", "costs", "utilities")


def to_document(specification: Specification) -> dict[str, Any]:
    """Plain dictionaries, lists, text and numbers; what is absent is left out."""
    run = {name: getattr(specification, name) for name in _RUN}
    run["levels"] = [float(level) for level in specification.levels]
    cohort = specification.cohort
    weight = "n" if cohort.counted else "share"
    groups = []
    for group in cohort.groups:
        entry = _plain(group)
        value = entry.pop("weight")
        groups.append({**entry, weight: int(value) if cohort.counted else float(value)})
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "simulation": run,
        "cohort": {"groups": groups},
        "strategies": [_plain(strategy) for strategy in specification.strategies],
    }
    assumed: dict[str, Any] = {}
    for name in _ASSUMED:
        value = getattr(specification, name)
        if isinstance(value, tuple) and value:
            assumed[name] = [float(one) for one in value]
        elif not isinstance(value, tuple) and value is not None:
            assumed[name] = float(value)
    if assumed:
        document["assumptions"] = assumed
    for name in _SECTIONS:
        if (part := getattr(specification, name)) is not None:
            document[name] = _plain(part)
    return document


def from_document(document: Mapping[str, Any]) -> Specification:
    """Check a document and make the specification.

    Parameters
    ----------
    document : mapping
        As :func:`to_document` gives it, or as read from TOML or YAML. ``schema_version``
        and everything with a default may be left out; of a cohort with counts so may
        ``patients``.

    Raises
    ------
    InputError
        For an entry that is missing, unknown or out of range; the message names it.
    """
    sections = ("schema_version", "simulation", "cohort", "strategies", "assumptions", *_SECTIONS)
    only("the specification", document, sections)
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"schema_version is {shown(version)}, this ketacast reads {SCHEMA_VERSION}; "
            "update ketacast"
        )
    run = dict(_table(document, "simulation"))
    only("[simulation]", run, _RUN)
    cohort = read_cohort(_table(document, "cohort"))
    if cohort.counted:
        run.setdefault("patients", int(cohort.total))
    for name in ("patients", "horizon_weeks"):
        if name not in run:
            raise InputError(f"[simulation] {name} is missing; give a whole number")
    if "levels" in run:
        run["levels"] = _numbers("levels", run["levels"])
    assumed = dict(_table(document, "assumptions", optional=True))
    only("[assumptions]", assumed, _ASSUMED)
    if "willingness_to_pay" in assumed:
        assumed["willingness_to_pay"] = _numbers(
            "willingness_to_pay", assumed["willingness_to_pay"]
        )
    parts: dict[str, Any] = {
        name: read_record(_PARTS[Specification][name], document[name], f"[{name}]")
        for name in _SECTIONS
        if document.get(name) is not None
    }
    return Specification(cohort=cohort, strategies=_strategies(document), **run, **assumed, **parts)


def read_cohort(section: Mapping[str, Any]) -> Cohort:
    """Read groups, all with ``share`` or all with ``n``."""
    only("[cohort]", section, ("groups",))
    groups = section.get("groups")
    if not isinstance(groups, list) or not groups:
        raise InputError(
            f"[cohort] groups is {shown(groups)}; head each group with [[cohort.groups]], or "
            "give table"
        )
    found, kinds = [], set()
    for place, entry in enumerate(groups, 1):
        where = f"[[cohort.groups]] {place}"
        if not isinstance(entry, Mapping) or ("share" in entry) == ("n" in entry):
            raise InputError(
                f"{where} is {shown(entry)}; give a table with share or n, one of them"
            )
        kind = "n" if "n" in entry else "share"
        kinds.add(kind)
        plain = {name: value for name, value in entry.items() if name != kind}
        found.append(read_record(Group, {**plain, "weight": entry[kind]}, where))
    if len(kinds) > 1:
        raise InputError("[cohort] some groups have share and some n; give one kind")
    return Cohort(tuple(found), counted=kinds == {"n"})


def read_record(kind: type[Record], entry: object, where: str) -> Record:
    """Make a record from a table, refusing unknown and missing entries."""
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is {shown(entry)}; give a table")
    known = fields(kind)  # type: ignore[arg-type]
    only(where, entry, [field.name for field in known])
    missing = [
        field.name
        for field in known
        if field.default is MISSING and field.default_factory is MISSING and field.name not in entry
    ]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; give it")
    values = {}
    for name, value in entry.items():
        part = _PARTS.get(kind, {}).get(name)
        if part and value is None:  # JSON's null
            continue
        values[name] = read_record(part, value, f"{where} {name}") if part else value
    return kind(**values)


def only(where: str, entry: Mapping[str, Any], known: object) -> None:
    """Refuse unknown entries and list the known ones."""
    names = [str(name) for name in known]  # type: ignore[attr-defined]
    unknown = [name for name in entry if name not in names]
    if unknown:
        raise InputError(f"{where} has {shown(unknown[0])}; known are {', '.join(names)}")


def _strategies(document: Mapping[str, Any]) -> tuple[Strategy, ...]:
    entries = document.get("strategies")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"strategies is {shown(entries)}; head each one with [[strategies]]")
    found = []
    for place, entry in enumerate(entries, 1):
        where = f"[[strategies]] {place}"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where} is {shown(entry)}; give a table")
        stops = entry.get("stop", [])
        stops = stops if isinstance(stops, list) else [stops]
        records = tuple(read_record(Stop, one, f"{where} stop") for one in stops)
        found.append(read_record(Strategy, {**entry, "stop": records}, where))
    return tuple(found)


def _table(document: Mapping[str, Any], name: str, *, optional: bool = False) -> Mapping[str, Any]:
    section = document.get(name)
    if section is None and optional:
        return {}
    if not isinstance(section, Mapping):
        raise InputError(f"the table [{name}] is {shown(section)}; give it")
    return section


def _numbers(name: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise InputError(f"{name} is {shown(values)}; give a list of numbers")
    return tuple(values)


def _plain(record: Any) -> dict[str, Any]:
    """Entries of a record that are not at their default."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        if is_dataclass(value):
            value = _plain(value)
        elif isinstance(value, tuple):
            value = [_plain(one) if is_dataclass(one) else one for one in value]
        elif isinstance(value, float):
            value = float(value)  # NumPy's would be written as "np.float64(...)"
        found[field.name] = value
    return found
