"""A result as one plain document: what is read first, with its ranges, sources and limits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ketacast.simulation.checkpoints import write_whole
from ketacast.simulation.documents import to_document
from ketacast.simulation.economics import incremental, net_benefit
from ketacast.simulation.results import SimulationResult

if TYPE_CHECKING:
    import pandas as pd

REPORT_NAME: Final = "report.json"
SCHEMA_VERSION: Final = 1
_BOUND: Final = re.compile(r"(?P<prefix>[a-z]+_)?(low|high)_(?P<percent>\d+(_\d+)?)")


def report_of(result: SimulationResult) -> dict[str, Any]:
    """Return a result's outcomes at the horizon, its comparisons and what they rest on.

    Returns
    -------
    dict
        Plain values that JSON can hold; ``None`` where a number does not exist. Every row
        has its ``ranges`` over draws by level. All weeks are in :meth:`summary` and
        :meth:`differences` of the result, whose numbers these are.
    """
    spec = result.specification
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "title": spec.title,
        "ketacast": result.code,
        "model": dict(result.model),
        "clinics": dict(result.clinics),
        "engine": spec.engine,
        "patients": spec.patients,
        "horizon_weeks": spec.horizon_weeks,
        "draws": spec.draws,
        "seed": spec.seed,
        "class_error": result.class_error,
        "outcomes": _rows(_at_horizon(result.summary(), result)),
        "differences": [],
        "infusions_per_response_week": _rows(result.infusions_per_response_week()),
    }
    if len(result.strategies) > 1:
        found["differences"] = _rows(_at_horizon(result.differences(), result))
    if spec.costs is not None:
        found["incremental"] = _rows(incremental(result))
        if spec.willingness_to_pay:
            found["net_benefit"] = _rows(net_benefit(result))
    return {**found, "basis": result.basis.to_dict(), "specification": to_document(spec)}


def write_report(result: SimulationResult, directory: Path | str) -> Path:
    """Write the report as ``report.json``."""
    path = Path(directory) / REPORT_NAME
    text = json.dumps(report_of(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode("utf-8"))
    return path


def _at_horizon(frame: pd.DataFrame, result: SimulationResult) -> pd.DataFrame:
    return frame[frame["week"] == result.specification.horizon_weeks]


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [_row(row) for row in frame.to_dict("records")]


def _row(row: dict[Hashable, Any]) -> dict[str, Any]:
    """Gather ``low_80`` and ``high_80`` under ``ranges``, as predictions show theirs.

    Those of one of several numbers, as ``cost_low_80``, come under ``cost_ranges``.
    """
    found: dict[str, Any] = {}
    ranges: dict[str, dict[str, list[float | None]]] = {}
    for key, value in row.items():
        bound = _BOUND.fullmatch(str(key))
        if bound is None:
            found[str(key)] = _plain(value)
            continue
        level = f"{float(bound['percent'].replace('_', '.')) / 100:g}"
        of_level = ranges.setdefault(f"{bound['prefix'] or ''}ranges", {})
        of_level.setdefault(level, []).append(_plain(value))
    return {**found, **ranges}


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
