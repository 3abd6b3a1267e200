"""Hooks for schemathesis: valid data is bent to the rules that a JSON schema cannot say.

No check is switched off. A request that the document calls valid is changed, before it is
sent, so that it also keeps the rules between fields (lowest before highest, no more
remitters than responders, columns of one length, ...). What the document calls invalid is
sent as it is.

The command reads this module by ``SCHEMATHESIS_HOOKS=schema_hooks``.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import schemathesis
from hypothesis import strategies as st

from ketacast.clinical.artifact import load_artifact
from ketacast.options import RATERS
from ketacast.updating import Batch, Cell, update_clinic
from ketacast.updating.counts import label_problem

_NUMBERS: Final = itertools.count()
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_ARROW: Final = "application/vnd.apache.arrow.stream"
_FINISHED: Final = os.environ.get("FINISHED_SIMULATION", "")
"""A simulation with a result: no generated id would ever find one."""
_OF_RESULTS: Final = frozenset({"readSimulation", "simulationResult", "simulationFile"})
_RESULTS: Final = ("report.json", "summary.csv", "draws.parquet", "differences.parquet", "none.csv")
_MOST_PATIENTS: Final = 40
"""Counts add up over a run, and must not contradict the model. Only the first cell of every
twentieth request has any, for to learn from them takes a second."""
_MOST_CELLS: Final = 2_000
"""Of a request: more have more bytes than a body may."""


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Leave out the example of NDJSON: a media type with a strategy takes bytes only."""
    media = raw_schema["paths"]["/v1/predictions/batch"]["post"]["requestBody"]["content"]
    del media[_LINES]["example"]  # the strategy below has such lines


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Make valid data keep the rules between fields."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_negative:
        return
    definition = getattr(case.operation, "definition", None)
    name = str(definition.raw.get("operationId")) if definition is not None else ""
    if name in _OF_RESULTS and meta.phase.name != "stateful" and _FINISHED:
        case.path_parameters["simulation_id"] = _FINISHED
        if "name" in case.path_parameters:
            case.path_parameters["name"] = _RESULTS[next(_NUMBERS) % len(_RESULTS)]
    if case.media_type != _JSON:
        return
    bend = _BENDING.get(name)
    if bend is not None and isinstance(case.body, dict):
        body = bend(_written_plainly(case.body))
        if meta.phase.name == "stateful":  # links begin at answers in JSON
            body = {key: value for key, value in body.items() if key not in ("subject", "basis")}
        case.body = body
        if case.body.get("subject") is not None:
            case.headers["Accept"] = "application/fhir+json"  # where a patient is named


def _written_plainly(value: Any) -> Any:
    """Write whole numbers without a point: 7.0 is an integer to JSON schema, not to us."""
    if isinstance(value, dict):
        return {key: _written_plainly(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_written_plainly(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def bend_prediction(body: dict[str, Any]) -> dict[str, Any]:
    """Lowest before highest, an infusion left to predict, a real profile, a patient for FHIR."""
    changed = dict(body)
    if body.get("subject") is None:
        changed.pop("basis", None)
    trials = body.get("failed_trials")
    if isinstance(trials, dict):
        low, high = sorted((trials["min"], trials["max"]))
        changed["failed_trials"] = {"min": low, "max": high}
    if "so_far" in body:
        changed["so_far"] = body["so_far"][: body["infusions"] - 1]
    clinic = body.get("clinic")
    if isinstance(clinic, dict) and "profile" in clinic:
        changed["clinic"] = {"profile": real_profile(has_counts=bool(clinic["profile"]))}
    return changed


def bend_columns(body: dict[str, Any]) -> dict[str, Any]:
    """Columns of one length."""
    columns = ("failed_trials", "infusions", "rated_by")
    shortest = min(len(body[name]) for name in columns if isinstance(body[name], list))
    return {
        name: value[:shortest] if name in columns and isinstance(value, list) else value
        for name, value in body.items()
    }


def bend_outcomes(body: dict[str, Any]) -> dict[str, Any]:
    """Counts that add up, in batches that are new and no days."""
    turn = next(_NUMBERS) % 20
    is_new = body.get("repeated", "refuse") == "refuse"
    total = sum(len(entry["cells"]) for entry in body["batches"])
    most = _MOST_CELLS // len(body["batches"]) if total > _MOST_CELLS else total
    batches = [
        {
            "batch": _label(entry["batch"], is_new=is_new),
            "cells": [
                _bend_cell(cell, has_patients=turn == batch == place == 0)
                for place, cell in enumerate(entry["cells"][:most])
            ],
        }
        for batch, entry in enumerate(body["batches"])
    ]
    return {**body, "batches": batches}


def _label(label: str, *, is_new: bool) -> str:
    if is_new or label_problem(label) is not None:
        return f"{next(_NUMBERS)} of a run"
    return label


def _bend_cell(cell: dict[str, Any], *, has_patients: bool) -> dict[str, Any]:
    """Give a cell counts as a clinic has them."""
    patients = min(cell["n"], _MOST_PATIENTS) if has_patients else 0
    responders, remitters = cell.get("responders"), cell.get("remitters")
    if responders is None and remitters is None:
        responders = 0
    low, high = patients // 5, patients // 2
    return {
        **cell,
        "failed_trials": sorted(cell["failed_trials"]),
        "n": patients,
        "responders": None if responders is None else max(low, min(responders, high)),
        "remitters": None if remitters is None else min(remitters, low),
    }


@cache
def _profile_text(*, has_counts: bool) -> str:
    cell = Cell((4, 8), 6, "self", "all_treated", 20, 8, 4)
    counts = [Batch("2026-Q1", (cell,))] if has_counts else []
    return update_clinic(load_artifact(), counts, None, label="Day clinic").to_json()


def real_profile(*, has_counts: bool) -> dict[str, Any]:
    """Return a clinic's profile as the library writes it."""
    found: dict[str, Any] = json.loads(_profile_text(has_counts=has_counts))
    return found


def bend_chart_opened(body: dict[str, Any]) -> dict[str, Any]:
    """A chart whose orders were looked up: without them it cannot be said what is under way."""
    return {**body, "prefetch": {"medRequests": None}}


def bend_simulation(body: dict[str, Any]) -> dict[str, Any]:
    """A cohort of shares, strategies that end before the horizon, assumptions that are used."""
    changed = {key: value for key, value in body.items() if key not in ("assumptions", "dropout")}
    run = body["simulation"]
    # Small: thousands of them are taken on, and those that are run must not slow the rest.
    kept = {"patients": 50, "draws": 4, "classes": 16}
    changed["simulation"] = {**run, **kept, "horizon_weeks": max(run["horizon_weeks"], 20)}
    if "levels" in run:
        levels = {f"{100 * level:g}": level for level in run["levels"]}
        changed["simulation"]["levels"] = list(levels.values())
    groups: list[dict[str, Any]] = []
    for given in body["cohort"]["groups"][:20]:
        group = {name: value for name, value in given.items() if name not in ("n", "clinic")}
        if isinstance(given.get("clinic", "new"), dict):
            profile = real_profile(has_counts=False)
            is_sent = any(isinstance(one.get("clinic"), dict) for one in groups)
            group["clinic"] = {"sha256": profile["sha256"]} if is_sent else {"profile": profile}
        is_new = group.get("clinic", "new") == "new"
        group["clinics"] = min(given.get("clinics", 1), 5) if is_new else 1
        groups.append({**group, "share": 1.0})
    changed["cohort"] = {"groups": groups}
    changed["strategies"] = [
        _bend_strategy(given, place) for place, given in enumerate(body["strategies"][:3])
    ]
    return changed


def _bend_strategy(given: dict[str, Any], place: int) -> dict[str, Any]:
    """At most ten infusions, two or more a week."""
    strategy = {name: value for name, value in given.items() if name not in ("taper", "extend")}
    if given.get("extend") is not None:
        strategy["extend"] = {**given["extend"], "to": 10}
    infusions = min(given["infusions"], 9)
    stops = {
        stop["after"]: {**stop, "none_in_last": 1}
        for stop in given.get("stop", [])
        if stop["after"] < infusions
    }
    return {
        **strategy,
        "name": f"{place} {given['name'][:50]}".strip(),
        "infusions": infusions,
        "per_week": max(given.get("per_week", 2.0), 1.0),
        "stop": list(stops.values()),
    }


_BENDING: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "createSimulation": bend_simulation,
    "predict": bend_prediction,
    "predictBatch": bend_columns,
    "addOutcomes": bend_outcomes,
    "cds_patient_view": bend_chart_opened,
}

_TRIALS: Final = st.integers(0, 20)
_INFUSIONS: Final = st.integers(1, 30)
_RATERS: Final = st.sampled_from(RATERS)
_ROW: Final = st.fixed_dictionaries(
    {"failed_trials": _TRIALS, "infusions": _INFUSIONS, "rated_by": _RATERS}
)
_BAD_LINE: Final = st.one_of(
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5)).map(
        lambda row: json.dumps(row).encode()
    ),
)
"""A row that cannot be answered is reported by its number and spoils no other."""


def _stream(rows: list[dict[str, Any]], cut: int) -> bytes:
    types = {"failed_trials": pa.int16(), "infusions": pa.int64(), "rated_by": pa.string()}
    table = pa.Table.from_pylist(rows, schema=pa.schema(types))
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=cut)
    return out.getvalue()


schemathesis.openapi.media_type(
    _LINES,
    st.lists(st.one_of(_ROW.map(lambda row: json.dumps(row).encode()), _BAD_LINE), max_size=12).map(
        b"\n".join
    ),
)
schemathesis.openapi.media_type(
    _ARROW,
    st.builds(_stream, st.lists(_ROW, max_size=12), st.integers(1, 5)),
)
