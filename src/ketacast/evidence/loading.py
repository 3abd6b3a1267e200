"""The evidence: six tables read, checked together and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ketacast.errors import EvidenceError, Fault, InputError
from ketacast.evidence.checks import check_tables
from ketacast.evidence.columns import TABLES
from ketacast.evidence.model_checks import check_model_rows
from ketacast.evidence.reading import ParsedTable, Row, missing_table, parse_table
from ketacast.evidence.records import (
    Cohort,
    Contrast,
    EarlyChange,
    OutcomeCount,
    PublishedSynthesis,
    Relapse,
)
from ketacast.evidence.specs import TableName
from ketacast.options import check_choice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Evidence:
    """All evidence tables, checked.

    Attributes
    ----------
    cohorts : tuple of Cohort
        Rows of ``cohorts.csv`` in file order; likewise the other tables.
    outcomes : tuple of OutcomeCount
    contrasts : tuple of Contrast
    early_change : tuple of EarlyChange
    relapse : tuple of Relapse
    syntheses : tuple of PublishedSynthesis
    sha256 : str
        Hex digest of the six files (see :func:`hash_files`).
    """

    cohorts: tuple[Cohort, ...]
    outcomes: tuple[OutcomeCount, ...]
    contrasts: tuple[Contrast, ...]
    early_change: tuple[EarlyChange, ...]
    relapse: tuple[Relapse, ...]
    syntheses: tuple[PublishedSynthesis, ...]
    sha256: str

    def cohort(self, cohort_id: str) -> Cohort:
        """Return the cohort of that name.

        Parameters
        ----------
        cohort_id : str
            Name of the cohort.

        Raises
        ------
        InputError
            If there is no such cohort.
        """
        for cohort in self.cohorts:
            if cohort.cohort_id == cohort_id:
                return cohort
        raise InputError(f"cohort_id is {cohort_id!r}; give one of the names in cohorts.csv")

    def primary_cohorts(self) -> tuple[Cohort, ...]:
        """Return the cohorts of the primary fit, in file order."""
        return tuple(cohort for cohort in self.cohorts if cohort.include_primary)

    def outcomes_of(self, cohort_id: str) -> tuple[OutcomeCount, ...]:
        """Return the outcome rows of a cohort, in file order.

        Parameters
        ----------
        cohort_id : str
            Name of the cohort.

        Raises
        ------
        InputError
            If there is no such cohort.
        """
        self.cohort(cohort_id)
        return tuple(row for row in self.outcomes if row.cohort_id == cohort_id)

    def to_frame(self, table: TableName) -> pd.DataFrame:
        """Return one table as a data frame.

        Parameters
        ----------
        table : {'cohorts', 'outcomes', 'contrasts', 'early_change', 'relapse', \
'published_syntheses'}
            Which table.

        Returns
        -------
        pandas.DataFrame
            One row per record, columns in file order; whole numbers are
            ``Int64`` (blank: ``<NA>``), numbers ``float64`` (blank: NaN), flags
            ``bool``, everything else text.

        Raises
        ------
        InputError
            If `table` is not one of the choices.
        """
        from ketacast.evidence.frames import records_to_frame  # noqa: PLC0415 - pandas is slow

        check_choice("table", table, TABLES)
        return records_to_frame(TABLES[table], self.records(table))

    def records(self, table: TableName) -> tuple[Any, ...]:
        """Return the records of one table, by the table's name."""
        check_choice("table", table, TABLES)
        rows: tuple[Any, ...] = getattr(self, _FIELD_OF.get(table, table))
        return rows


# Fields of Evidence that are not named like their table.
_FIELD_OF: Final[Mapping[str, str]] = {"published_syntheses": "syntheses"}


def load_evidence(directory: Path | str) -> Evidence:
    """Read and check the evidence tables of a directory.

    Parameters
    ----------
    directory : path-like
        Directory with the six CSV files (UTF-8; other files are ignored).

    Returns
    -------
    Evidence
        All rows, in file order.

    Raises
    ------
    EvidenceError
        If anything is wrong; all faults are listed at once.
    """
    files, faults = read_files(Path(directory))
    parsed = {
        name: parse_table(spec, spec.file, files[name])
        if name in files
        else missing_table(spec, spec.file, faults[name])
        for name, spec in TABLES.items()
    }
    raise_faults(find_faults(parsed))
    return build_evidence(parsed, hash_files(files))


def read_files(directory: Path) -> tuple[dict[TableName, bytes], dict[TableName, str]]:
    """Read the six files; for those that cannot be read, say why.

    Parameters
    ----------
    directory : Path
        Evidence directory.

    Returns
    -------
    files : dict
        Content by table.
    problems : dict
        Message by table, for the tables that are not in `files`.
    """
    files: dict[TableName, bytes] = {}
    problems: dict[TableName, str] = {}
    for name, spec in TABLES.items():
        path = directory / spec.file
        try:
            files[name] = path.read_bytes()
        except FileNotFoundError:
            problems[name] = f"file missing in {str(directory)!r}; add it"
        except OSError as error:
            problems[name] = f"cannot be read ({error.strerror}); mend its permissions"
    return files, problems


def hash_files(files: Mapping[TableName, bytes]) -> str:
    """Hex SHA-256 of the six files.

    Each file enters, in the fixed order of the tables, as its name, its length
    and its bytes, with CR LF turned into LF and a byte order mark left out, so
    that a checkout on another system keeps the hash.

    Parameters
    ----------
    files : mapping of TableName to bytes
        Content by table; all six.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, spec in TABLES.items():
        data = files[name].removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        digest.update(f"{spec.file}\n{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def find_faults(parsed: Mapping[TableName, ParsedTable]) -> list[Fault]:
    """All faults of the tables, in file and row order.

    Parameters
    ----------
    parsed : mapping of TableName to ParsedTable
        All six tables as read.
    """
    faults = [fault for table in parsed.values() for fault in table.faults]
    faults.extend(check_tables(parsed))
    faults.extend(check_model_rows(parsed))
    order: dict[str, int] = {}
    for table in parsed.values():
        for file in (table.spec.file, *(row.file for row in table.rows)):
            order.setdefault(file, len(order))
    return sorted(faults, key=lambda fault: (order.get(fault.file, len(order)), fault.row or 0))


def raise_faults(faults: list[Fault]) -> None:
    """Raise all `faults` as one error, if there are any.

    Raises
    ------
    EvidenceError
        If `faults` is not empty.
    """
    if faults:
        raise EvidenceError(faults)


def build_evidence(parsed: Mapping[TableName, ParsedTable], sha256: str) -> Evidence:
    """Make the records of tables that have no faults.

    Parameters
    ----------
    parsed : mapping of TableName to ParsedTable
        All six tables, without faults.
    sha256 : str
        Their hash.
    """
    tables = {
        _FIELD_OF.get(name, name): tuple(_record(row) for row in table.rows)
        for name, table in parsed.items()
    }
    return Evidence(**tables, sha256=sha256)


def _record(row: Row) -> Any:
    return TABLES[row.table].record(**row.values)
