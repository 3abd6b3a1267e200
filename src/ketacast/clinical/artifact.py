"""The model artifact: read and verify (standard library only).

``artifact.json`` carries its own SHA-256: the digest of the file's bytes with the
64 digits of the ``sha256`` entry replaced by zeros. Beside it lies ``draws.npz``,
whose digest the artifact records.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ketacast.errors import ArtifactError
from ketacast.options import RATERS

SCHEMA_VERSION: Final = 1
ARTIFACT_NAME: Final = "artifact.json"
DRAWS_NAME: Final = "draws.npz"
BLANK_DIGEST: Final = "0" * 64
DIGITS: Final = 10
"""Decimals kept in the artifact: two beyond the 1e-8 to which machines agree."""

_DIGEST: Final = re.compile(rb'"sha256": "([0-9a-f]{64})"')

Table = Mapping[str, Sequence[Sequence[Sequence[Sequence[float]]]]]
"""outcome -> failed trials -> infusions -> rater -> summaries."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model.

    Attributes
    ----------
    directory : Path
        Where it was read from.
    sha256 : str
        Digest of the artifact file.
    content : mapping
        The JSON document (docs/artifact.md describes it).
    """

    directory: Path
    sha256: str
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Model name."""
        return str(self.content["model"]["name"])

    @property
    def version(self) -> str:
        """Model version."""
        return str(self.content["model"]["version"])

    @property
    def levels(self) -> tuple[float, ...]:
        """Interval levels held by the table."""
        return tuple(self.content["table"]["levels"])

    @property
    def table(self) -> Table:
        """Point predictions by outcome."""
        table: Table = self.content["table"]["values"]
        return table


def default_model_directory() -> Path:
    """Return the directory of the model that comes with the package.

    Raises
    ------
    ArtifactError
        If neither an installed nor a checked-out model is found.
    """
    package = Path(__file__).resolve().parent.parent
    installed = package / "_models" / "ketamine-trd"
    checkout = package.parent.parent / "models" / "ketamine-trd"
    for candidate in (installed, checkout):
        if candidate.is_dir():
            return candidate
    raise ArtifactError(f"no model beside the package at {package}; give the directory of one")


def digest_of(raw: bytes) -> str:
    """SHA-256 of artifact bytes with the recorded digest blanked out."""
    blanked = _DIGEST.sub(b'"sha256": "' + BLANK_DIGEST.encode() + b'"', raw, count=1)
    return hashlib.sha256(blanked).hexdigest()


@lru_cache(maxsize=8)
def load_artifact(directory: Path | str | None = None) -> Artifact:
    """Read ``artifact.json`` and verify digest, schema and every number.

    Parameters
    ----------
    directory : path, optional
        Directory of the model; the model that comes with the package by default.

    Returns
    -------
    Artifact

    Raises
    ------
    ArtifactError
        If the file is missing, truncated, altered, of a newer schema or holds a
        number that is not finite or not coherent.
    """
    where = default_model_directory() if directory is None else Path(directory)
    path = where / ARTIFACT_NAME
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror}; name another directory or rebuild it: "
            "`ketacast fit --out DIR`"
        ) from error
    try:
        content = json.loads(raw, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is not complete JSON ({error}); restore it or rebuild it: "
            "`ketacast fit --out DIR`"
        ) from error
    _check_head(path, content)
    recorded, found = content["sha256"], digest_of(raw)
    if recorded != found:
        raise ArtifactError(
            f"{path} was altered: it records sha256 {recorded[:12]}..., its content has "
            f"{found[:12]}...; restore it or rebuild it: `ketacast fit --out DIR`"
        )
    problem = _problem(content)
    if problem:
        raise ArtifactError(
            f"{path}: {problem}; restore it or rebuild it: `ketacast fit --out DIR`"
        )
    return Artifact(directory=where, sha256=recorded, content=content)


def check_draws(artifact: Artifact) -> bytes:
    """Read ``draws.npz`` and verify its digest.

    Returns
    -------
    bytes
        The file's content.

    Raises
    ------
    ArtifactError
        If the file is missing or is not the one the artifact was built with.
    """
    path = artifact.directory / DRAWS_NAME
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror}; restore it or rebuild it: "
            "`ketacast fit --out DIR`"
        ) from error
    recorded, found = artifact.content["draws"]["sha256"], hashlib.sha256(raw).hexdigest()
    if recorded != found:
        raise ArtifactError(
            f"{path} does not belong to {ARTIFACT_NAME}: sha256 {found[:12]}..., expected "
            f"{recorded[:12]}...; restore both or rebuild it: `ketacast fit --out DIR`"
        )
    return raw


def _refuse_constant(name: str) -> float:
    raise ArtifactError(
        f"the artifact holds {name}, which is not a number; rebuild it: `ketacast fit --out DIR`"
    )


def _check_head(path: Path, content: object) -> None:
    if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
        raise ArtifactError(
            f"{path} is not a ketacast artifact; rebuild it: `ketacast fit --out DIR`"
        )
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}, this ketacast reads {SCHEMA_VERSION}; "
            + (
                "update ketacast"
                if version > SCHEMA_VERSION
                else "rebuild it: `ketacast fit --out DIR`"
            )
        )
    digest = content.get("sha256")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ArtifactError(f"{path} has no sha256 entry; rebuild it: `ketacast fit --out DIR`")


_SHAPE: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
    "model": {"name": str, "version": str, "title": str, "code_version": str},
    "evidence": {"sha256": str, "cohorts": int, "patients": int, "rows": int},
    "recipe": {"sha256": str},
    "draws": {"file": str, "sha256": str, "count": int, "quantile_error": float},
    "coding": {
        "reference_infusions": (int, float),
        "plateau_infusions": int,
        "reference_failed_trials": (int, float),
    },
    "support": {
        "failed_trials": list,
        "failed_trials_answered": list,
        "infusions": list,
        "infusions_answered": list,
    },
    "table": {
        "failed_trials": list,
        "infusions": list,
        "raters": list,
        "levels": list,
        "columns": list,
        "values": dict,
    },
}


def _problem(content: Mapping[str, Any]) -> str | None:
    """Return the first structural fault, or None."""
    for section, entries in _SHAPE.items():
        found = content.get(section)
        if not isinstance(found, dict):
            return f"the section {section!r} is missing"
        for key, kind in entries.items():
            if not isinstance(found.get(key), kind) or isinstance(found.get(key), bool):
                return f"{section}.{key} is {found.get(key)!r}"
    for key, pair in content["support"].items():
        if len(pair) != 2 or not all(type(value) is int for value in pair):
            return f"support.{key} is {pair!r}"
    raters = content["table"]["raters"]
    if raters != list(RATERS):
        return f"table.raters is {raters!r}"
    return _parameters_problem(content) or _table_problem(content["table"])


def _parameters_problem(content: Mapping[str, Any]) -> str | None:
    """Return the first fault of the coefficients and their covariance, or None."""
    coefficients, covariance = content.get("coefficients"), content.get("covariance")
    if not isinstance(coefficients, list) or not coefficients:
        return "the section 'coefficients' is missing"
    for entry in coefficients:
        known = entry if isinstance(entry, dict) else {}
        numbers = [known.get("mean"), known.get("sd"), *_items(known.get("interval_95"))]
        if len(numbers) != 4 or not all(_is_number(value) for value in numbers):
            return f"a coefficient is {entry!r}"
    rows = _items(covariance.get("values")) if isinstance(covariance, dict) else []
    size = len(coefficients)
    square = len(rows) == size and all(len(_items(row)) == size for row in rows)
    if not square or not all(_is_number(value) for row in rows for value in row):
        return f"the section 'covariance' is not {size} x {size}"
    return None


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def _table_problem(table: Mapping[str, Any]) -> str | None:
    shape = [len(table[axis]) for axis in ("failed_trials", "infusions", "raters")]
    width, n_levels = len(table["columns"]), len(table["levels"])
    if width != 2 + 4 * n_levels or 0 in shape:
        return "the table's columns do not fit its levels"
    values = table["values"]
    if set(values) != {"response", "remission"}:
        return f"the table has outcomes {sorted(values)}"
    cells: dict[str, list[list[float]]] = {}
    for outcome, by_trials in values.items():
        flat = [
            cell
            for by_infusions in _items(by_trials)
            if len(_items(by_infusions)) == shape[1]
            for by_rater in by_infusions
            if len(_items(by_rater)) == shape[2]
            for cell in by_rater
        ]
        if len(flat) != shape[0] * shape[1] * shape[2]:
            return f"the table of {outcome} is not {shape[0]} x {shape[1]} x {shape[2]}"
        cells[outcome] = flat
    for response, remission in zip(cells["response"], cells["remission"], strict=True):
        for cell in (response, remission):
            if not _are_probabilities(cell, width):
                return f"a table cell holds {cell!r}, not {width} probabilities"
        if any(map(float.__gt__, remission, response)):
            return "a table cell has remission above response"
    return None


def _are_probabilities(cell: object, width: int) -> bool:
    """Check a cell; NaN cannot occur, because parsing has refused it."""
    if not isinstance(cell, list) or len(cell) != width or set(map(type, cell)) != {float}:
        return False
    return bool(min(cell) >= 0.0 and max(cell) <= 1.0)
