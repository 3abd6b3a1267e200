"""Simulations of treatment courses, from a laptop to a cluster.

Describe a cohort, strategies and your own assumptions (:class:`Specification`, or a TOML
file), run them (:func:`simulate`), and read tidy tables with their ranges.

>>> from ketacast.simulation import Cohort, Group, Specification, Strategy, simulate
>>> spec = Specification(
...     cohort=Cohort((Group(6, "self", 1.0),), counted=False),
...     strategies=(Strategy("four", 4), Strategy("six", 6)),
...     horizon_weeks=12, patients=1000, engine="expected", draws=64,
... )
>>> result = simulate(spec)
>>> bool(result.at("six", "weeks_in_response").mean() > 0)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ketacast.simulation.cohort_tables import cohort_from_table
    from ketacast.simulation.economics import incremental, net_benefit
    from ketacast.simulation.files import load_specification, save_specification
    from ketacast.simulation.parquet import read_header, read_result, write_results
    from ketacast.simulation.patients import patient_histories
    from ketacast.simulation.report import report_of, write_report
    from ketacast.simulation.results import SimulationResult
    from ketacast.simulation.running import Resources, simulate
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
    from ketacast.simulation.swings import drivers

_HOME = {
    "Cohort": "specification",
    "Costs": "specification",
    "Dropout": "specification",
    "Extend": "strategies",
    "Group": "specification",
    "Maintenance": "strategies",
    "Reinduction": "strategies",
    "Resources": "running",
    "SimulationResult": "results",
    "Specification": "specification",
    "Stop": "strategies",
    "Strategy": "strategies",
    "Taper": "strategies",
    "Utilities": "specification",
    "cohort_from_table": "cohort_tables",
    "drivers": "swings",
    "incremental": "economics",
    "load_specification": "files",
    "net_benefit": "economics",
    "patient_histories": "patients",
    "read_header": "parquet",
    "read_result": "parquet",
    "report_of": "report",
    "save_specification": "files",
    "simulate": "running",
    "write_report": "report",
    "write_results": "parquet",
}

__all__ = [
    "Cohort",
    "Costs",
    "Dropout",
    "Extend",
    "Group",
    "Maintenance",
    "Reinduction",
    "Resources",
    "SimulationResult",
    "Specification",
    "Stop",
    "Strategy",
    "Taper",
    "Utilities",
    "cohort_from_table",
    "drivers",
    "incremental",
    "load_specification",
    "net_benefit",
    "patient_histories",
    "read_header",
    "read_result",
    "report_of",
    "save_specification",
    "simulate",
    "write_report",
    "write_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ketacast.simulation' has no attribute {name!r}")
    value = getattr(import_module(f"ketacast.simulation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
