"""A researcher's own rows: checked together with the base, written as a new base."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ketacast.errors import Fault, InputError
from ketacast.evidence.columns import TABLES
from ketacast.evidence.loading import (
    Evidence,
    build_evidence,
    find_faults,
    hash_files,
    load_evidence,
    raise_faults,
    read_files,
)
from ketacast.evidence.reading import (
    ParsedTable,
    decode,
    missing_table,
    parse_table,
    read_header,
    shorten,
)
from ketacast.evidence.specs import TableName, TableSpec

# A header that shares at least this part of a table's columns is taken for that
# table, so that a missing or misspelt column is named instead of the whole file.
_RECOGNISED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Additions:
    """What a set of added files holds, and the evidence with them.

    Attributes
    ----------
    counts : tuple of (TableName, int)
        Rows added to each table, in the order of the tables; 0 included.
    base_sha256 : str
        Hash of the base.
    evidence : Evidence
        Base and added rows; its hash is that of the directory written.
    """

    counts: tuple[tuple[TableName, int], ...]
    base_sha256: str
    evidence: Evidence

    @property
    def total(self) -> int:
        """Rows added in all."""
        return sum(count for _, count in self.counts)


def check_additions(base: Path | str, files: Sequence[Path | str]) -> Additions:
    """Check added rows together with the base; write nothing.

    Parameters
    ----------
    base : path-like
        Evidence directory.
    files : sequence of path-like
        CSV files, each with the columns of one table in any order; the table is
        known by them. At least one.

    Returns
    -------
    Additions
        Rows added per table, and the evidence that results.

    Raises
    ------
    InputError
        If no file is given.
    EvidenceError
        If anything is wrong in the base or the added files, or a row's name is
        already taken; all faults are listed, each with its file and line.
    """
    return _combine(Path(base), files)[0]


def write_additions(
    base_dir: Path | str, files: Sequence[Path | str], out_dir: Path | str
) -> Additions:
    """Write base and added rows as a new evidence directory.

    The new directory appears whole or not at all; the base is only read.

    Parameters
    ----------
    base_dir : path-like
        Evidence directory.
    files : sequence of path-like
        Added files, see :func:`check_additions`.
    out_dir : path-like
        Directory to make; it must not exist or must be empty.

    Returns
    -------
    Additions
        As from :func:`check_additions`.

    Raises
    ------
    InputError
        If no file is given, or `out_dir` holds something or cannot be written.
    EvidenceError
        If anything is wrong in the base or the added files.
    """
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out_dir is {str(out)!r}, which is in use; give a new or empty directory")
    additions, content = _combine(Path(base_dir), files)
    try:
        _write_whole(content, out, additions.evidence.sha256)
    except OSError as error:
        message = f"out_dir is {str(out)!r}, which cannot be written ({error.strerror})"
        raise InputError(f"{message}; give another directory") from error
    return additions


def _combine(
    base: Path, files: Sequence[Path | str]
) -> tuple[Additions, Mapping[TableName, bytes]]:
    if not files:
        raise InputError("files is empty; give at least one CSV file with rows to add")
    base_files, problems = read_files(base)
    tables: dict[TableName, ParsedTable] = {
        name: parse_table(spec, spec.file, base_files[name])
        if name in base_files
        else missing_table(spec, spec.file, problems[name])
        for name, spec in TABLES.items()
    }
    added: dict[TableName, list[ParsedTable]] = {name: [] for name in TABLES}
    strays: list[Fault] = []
    for path, label in _labels([Path(file) for file in files]).items():
        found = _read_added(path, label)
        if isinstance(found, Fault):
            strays.append(found)
        else:
            added[found.spec.name].append(found)
    merged = {name: _merge(table, added[name]) for name, table in tables.items()}
    raise_faults([*find_faults(merged), *strays])
    content = {name: _render(base_files[name], added[name]) for name in TABLES}
    counts = tuple((name, sum(len(part.rows) for part in parts)) for name, parts in added.items())
    evidence = build_evidence(merged, hash_files(content))
    return Additions(counts, hash_files(base_files), evidence), content


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """Name of each file in messages: short where that is clear, else the whole path."""
    taken = {spec.file for spec in TABLES.values()}
    names = [path.name for path in paths]
    return {
        path: str(path) if path.name in taken or names.count(path.name) > 1 else path.name
        for path in paths
    }


def _read_added(path: Path, label: str) -> ParsedTable | Fault:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Fault(label, None, None, "", f"cannot be read ({error.strerror}); mend the path")
    try:
        header = read_header(decode(data))
    except ValueError as error:
        return Fault(label, None, None, "", str(error))
    spec = _recognise(header)
    if spec is None:
        named = ", ".join(table.file for table in TABLES.values())
        message = f"the header fits no table; name the columns of one of {named}"
        return Fault(label, 1, None, shorten(", ".join(header)), message)
    return parse_table(spec, label, data)


def _recognise(header: Sequence[str]) -> TableSpec | None:
    """Table whose columns the header shares the most of."""
    given = set(header)

    def shared(spec: TableSpec) -> float:
        columns = set(spec.column_names)
        return len(columns & given) / len(columns | given)

    best = max(TABLES.values(), key=shared)
    return best if shared(best) >= _RECOGNISED else None


def _merge(base: ParsedTable, parts: Sequence[ParsedTable]) -> ParsedTable:
    rows, faults = list(base.rows), list(base.faults)
    for part in parts:
        rows.extend(part.rows)
        faults.extend(part.faults)
    complete = base.complete and all(part.complete for part in parts)
    return replace(base, rows=tuple(rows), faults=tuple(faults), complete=complete)


def _render(data: bytes, parts: Sequence[ParsedTable]) -> bytes:
    """Append the added rows to the base file, in its order of columns."""
    content = decode(data).replace("\r\n", "\n")
    header = read_header(content)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for part in parts:
        writer.writerows([row.cells[name] for name in header] for row in part.rows)
    if not content.endswith("\n"):
        content += "\n"
    return (content + out.getvalue()).encode()


def _write_whole(content: Mapping[TableName, bytes], out: Path, sha256: str) -> None:
    """Write into a temporary neighbour, read it back, then rename it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        whole = Path(scratch) / out.name
        whole.mkdir()
        for name, data in content.items():
            (whole / TABLES[name].file).write_bytes(data)
        if load_evidence(whole).sha256 != sha256:
            raise OSError(0, "what was written does not read back the same")
        if out.exists():
            out.rmdir()
        whole.rename(out)
