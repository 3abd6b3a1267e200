"""Results as Parquet files that can be run again: specification and model hash inside."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from ketacast.errors import InputError, MissingDependencyError
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.results import SimulationResult
from ketacast.simulation.specification import Specification

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["draws", "summary", "differences"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

KEY: Final = b"ketacast"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a result file says of itself.

    Attributes
    ----------
    kind : {"draws", "summary", "differences"}
    specification : Specification
    model, clinics : dict
        See :class:`SimulationResult`.
    class_error : float
    code : str
        Version of ketacast that wrote it.
    """

    kind: Kind
    specification: Specification
    model: dict[str, str]
    clinics: dict[str, str]
    class_error: float
    code: str


def write_results(result: SimulationResult, directory: Path | str) -> list[Path]:
    """Write draws, summary and differences as Parquet, each with the whole specification.

    Returns
    -------
    list of Path
        The files: ``draws.parquet``, ``summary.parquet``, ``differences.parquet`` (the
        last with two strategies or more).

    Raises
    ------
    MissingDependencyError
        Without pyarrow.
    """
    where = Path(directory)
    where.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        if kind == "differences" and len(result.strategies) == 1:
            continue
        path = where / f"{kind}.parquet"
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        _write(part, result, kind)
        part.replace(path)
        written.append(path)
    return written


def read_header(path: Path | str) -> Header:
    """Read what a result file says of itself.

    Raises
    ------
    InputError
        If it is no result file of this ketacast.
    """
    pq = _parquet()
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as Parquet ({error}); give a file that "
            "`ketacast simulate run` wrote"
        ) from error
    if KEY not in metadata:
        raise InputError(
            f"{path} holds no simulation; give a file that `ketacast simulate run` wrote"
        )
    content = json.loads(metadata[KEY])
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {content.get('schema_version')!r}, this ketacast reads "
            f"{SCHEMA_VERSION}; update ketacast"
        )
    return Header(
        kind=content["kind"],
        specification=from_document(content["specification"]),
        model=content["model"],
        clinics=content["clinics"],
        class_error=content["class_error"],
        code=content["ketacast"],
    )


def read_result(path: Path | str) -> SimulationResult:
    """Read a result from its ``draws.parquet``, or from the directory that holds it.

    Raises
    ------
    InputError
        If it is no such file, or rows are missing.
    """
    file = Path(path)
    file = file / "draws.parquet" if file.is_dir() else file
    header = read_header(file)
    if header.kind != "draws":
        raise InputError(f"{file} holds {header.kind}; give draws.parquet of the same run")
    spec = header.specification
    table = _parquet().read_table(file)
    halves = 1 if spec.engine == "expected" else 2
    shape = (len(spec.strategies), spec.draws, halves, spec.horizon_weeks + 1)
    if table.num_rows != int(np.prod(shape)):
        raise InputError(
            f"{file} has {table.num_rows} rows, its specification makes {int(np.prod(shape))}; "
            "restore it or run it again"
        )
    columns = [
        table.column(name).to_numpy().reshape(shape)
        for name in table.column_names
        if name not in ("strategy", "draw", "half", "week")
    ]
    values = np.moveaxis(np.stack(columns, axis=-1), 0, 2)
    return SimulationResult(
        spec, header.model, header.clinics, header.class_error, values, header.code
    )


def same_content(path: Path | str, result: SimulationResult) -> bool:
    """Tell whether a file holds a result to the last bit."""
    header = read_header(path)
    held = _parquet().read_table(path)
    found = _table(result, header.kind)
    if held.column_names != found.column_names or held.num_rows != found.num_rows:
        return False
    for name in held.column_names:
        one, other = (
            table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
            for table in (held, found)
        )
        equal = one.tobytes() == other.tobytes() if one.dtype.kind == "f" else (one == other).all()
        if not equal:
            return False
    return True


def _write(path: Path, result: SimulationResult, kind: Kind) -> None:
    table = _table(result, kind)
    _parquet().write_table(table, path, compression="zstd")


def _table(result: SimulationResult, kind: Kind) -> Any:
    """Make a file's table, with its header as metadata."""
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415

    if kind == "draws":
        table = _draws_table(result, pa)
    else:
        frame: pd.DataFrame = result.summary() if kind == "summary" else result.differences()
        table = pa.table({str(name): frame[name].to_numpy() for name in frame.columns})
    header = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "ketacast": result.code,
        "model": dict(result.model),
        "clinics": dict(result.clinics),
        "class_error": result.class_error,
        "basis": result.basis.to_dict(),
        "specification": to_document(result.specification),
    }
    return table.replace_schema_metadata({KEY: json.dumps(header, allow_nan=False).encode()})


def _draws_table(result: SimulationResult, pa: Any) -> Any:
    """One row for each strategy, draw, half and week; a column for each outcome."""
    draws, halves, strategies, weeks, _ = result.values.shape
    shape = (strategies, draws, halves, weeks)
    place = np.indices(shape, dtype=np.int32).reshape(4, -1)
    ordered = np.moveaxis(result.values, 2, 0)
    names = pa.DictionaryArray.from_arrays(pa.array(place[0]), pa.array(list(result.strategies)))
    columns = {
        "strategy": names.cast(pa.string()),
        "draw": pa.array(place[1]),
        "half": pa.array(place[2].astype(np.int8)),
        "week": pa.array(place[3].astype(np.int16)),
    }
    for i, name in enumerate(result.outcomes):
        columns[name] = pa.array(np.ascontiguousarray(ordered[..., i]).ravel())
    return pa.table(columns)


def _parquet() -> Any:
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            "results are written as Parquet: pip install 'ketacast[simulate]'"
        ) from error
    return pq
