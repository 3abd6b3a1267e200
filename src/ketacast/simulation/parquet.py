"""Results as Parquet files that can be run again: specification and model hash inside."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, get_args

import numpy as np

from ketacast.errors import InputError, MissingDependencyError
from ketacast.options import check_choice, shown
from ketacast.simulation.assumptions import Support
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.profiles import locate
from ketacast.simulation.results import SimulationResult
from ketacast.simulation.specification import Specification

if TYPE_CHECKING:
    import pandas as pd

File: TypeAlias = Path | str | BinaryIO
"""A path, or a file open for reading bytes that can be read again from its start."""

Kind = Literal["draws", "summary", "differences"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

KEY: Final = b"ketacast"
SCHEMA_VERSION: Final = 1
_PLACES: Final = ("strategy", "draw", "half", "week")
_AGAIN: Final = "restore it or run it again"


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
    support : Support, optional
        What the model's evidence supports.
    """

    kind: Kind
    specification: Specification
    model: dict[str, str]
    clinics: dict[str, str]
    class_error: float
    code: str
    support: Support | None = None


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


def read_header(file: File) -> Header:
    """Read what a result file says of itself.

    Parameters
    ----------
    file : path or binary file
        For example ``io.BytesIO`` of what a service sent.

    Raises
    ------
    InputError
        If it is no result file of this ketacast.
    """
    name, pq = _name(file), needs_parquet()
    try:
        metadata = pq.read_schema(_at_start(file)).metadata or {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} cannot be read as Parquet ({error}); give a file that "
            "`ketacast simulate run` wrote"
        ) from error
    if KEY not in metadata:
        raise InputError(
            f"{name} holds no simulation; give a file that `ketacast simulate run` wrote"
        )
    try:
        content = json.loads(metadata[KEY])
        version = content.get("schema_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{name} has a damaged header ({error}); {_AGAIN}") from error
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{name} has schema version {shown(version)}, this ketacast reads "
            f"{SCHEMA_VERSION}; update ketacast"
        )
    try:
        return _header(content)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{name} has a damaged header ({error}); {_AGAIN}") from error


def read_result(file: File) -> SimulationResult:
    """Read a result from its ``draws.parquet``, or from the directory that holds it.

    Clinic profiles that are no longer where they were are looked for beside the file, by
    their path and name, and known by their digest; see
    :func:`ketacast.simulation.profiles.locate`.

    Parameters
    ----------
    file : path or binary file

    Raises
    ------
    InputError
        If it is no such file, or rows are missing.
    """
    if isinstance(file, Path | str) and Path(file).is_dir():
        file = Path(file) / "draws.parquet"
    name, header = _name(file), read_header(file)
    if header.kind != "draws":
        raise InputError(f"{name} holds {header.kind}; give draws.parquet of the same run")
    spec = header.specification
    table = _read(file)
    halves = 1 if spec.engine == "expected" else 2
    shape = (len(spec.strategies), spec.draws, halves, spec.horizon_weeks + 1)
    if table.num_rows != int(np.prod(shape)):
        raise InputError(
            f"{name} has {table.num_rows} rows, its specification makes {int(np.prod(shape))}; "
            f"{_AGAIN}"
        )
    wanted = (*_PLACES, *outcome_names(spec))
    if tuple(table.column_names) != wanted:
        raise InputError(
            f"{name} has the columns {', '.join(table.column_names)}; a result of its "
            f"specification has {', '.join(wanted)}: {_AGAIN}"
        )
    columns = []
    for outcome in outcome_names(spec):
        column = table.column(outcome)
        if str(column.type) != "double" or column.null_count:
            raise InputError(f"{name}: {outcome} is not all numbers; {_AGAIN}")
        columns.append(column.to_numpy().reshape(shape))
    values = np.moveaxis(np.stack(columns, axis=-1), 0, 2)
    clinics = header.clinics
    if isinstance(file, Path | str):
        spec, clinics = locate(spec, clinics, Path(file).parent)
    return SimulationResult(
        spec, header.model, clinics, header.class_error, values, header.code, header.support
    )


def same_content(file: File, result: SimulationResult) -> bool:
    """Tell whether a file holds a result to the last bit."""
    header, held = read_header(file), _read(file)
    found = _table(result, header.kind)
    if held.column_names != found.column_names or held.num_rows != found.num_rows:
        return False
    for name in held.column_names:
        one, other = (
            table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
            for table in (held, found)
        )
        if one.dtype != other.dtype:
            return False
        equal = one.tobytes() == other.tobytes() if one.dtype.kind == "f" else (one == other).all()
        if not equal:
            return False
    return True


def _header(content: Any) -> Header:
    kind = content["kind"]
    check_choice("kind", kind, KINDS)
    model = {name: str(content["model"][name]) for name in ("name", "version", "sha256")}
    return Header(
        kind=kind,
        specification=from_document(content["specification"]),
        model=model,
        clinics={str(path): str(digest) for path, digest in content["clinics"].items()},
        class_error=float(content["class_error"]),
        code=str(content["ketacast"]),
        support=Support.read(content["support"]) if content.get("support") else None,
    )


def _name(file: File) -> str:
    return str(file) if isinstance(file, Path | str) else "the file"


def _at_start(file: File) -> File:
    if not isinstance(file, Path | str):
        file.seek(0)
    return file


def _read(file: File) -> Any:
    try:
        return needs_parquet().read_table(_at_start(file))
    except (OSError, ValueError) as error:
        raise InputError(f"{_name(file)} is damaged ({error}); {_AGAIN}") from error


def _write(path: Path, result: SimulationResult, kind: Kind) -> None:
    table = _table(result, kind)
    needs_parquet().write_table(table, path, compression="zstd")


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
        "support": result.support.to_dict() if result.support else None,
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


def needs_parquet() -> Any:
    """Import pyarrow's Parquet.

    Raises
    ------
    MissingDependencyError
        Without pyarrow.
    """
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            "results are written as Parquet: pip install 'ketacast[simulate]'"
        ) from error
    return pq
