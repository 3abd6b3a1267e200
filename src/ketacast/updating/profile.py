"""The clinic profile: read, verified and written (standard library only).

A profile is one JSON file with a SHA-256 of its own, like the model's artifact:
counts by covariates, their history by batch, point predictions for this clinic
and the draws behind them. It holds no patient data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ketacast.clinical.artifact import BLANK_DIGEST, Artifact, digest_of
from ketacast.errors import ArtifactError, InputError
from ketacast.options import OUTCOMES, RATERS
from ketacast.prediction import ModelId, Notice
from ketacast.updating.counts import Batch, Cell, cumulative

Method = Literal["new clinic", "reweighted", "refitted"]

SCHEMA_VERSION: Final = 1
KIND: Final = "ketacast clinic profile"
LONGEST_LABEL: Final = 80
_REBUILD: Final = "write it again from its counts: `ketacast clinic update --counts FILE.csv`"
_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Clinic:
    """What a model knows about one clinic.

    Attributes
    ----------
    label : str
        Free text of at most 80 characters; may be empty.
    model : ModelId
        The model the profile belongs to.
    cells : tuple of Cell
        Cumulative counts by covariates, infusions beyond the plateau as the plateau.
    batches : tuple of Batch
        History, in order.
    method : {"new clinic", "reweighted", "refitted"}
        How the counts entered; "new clinic" without counts.
    ess : float
        Effective sample size: of the model's draws, or of the refit's points.
    content : mapping
        The whole JSON document.
    """

    label: str
    model: ModelId
    cells: tuple[Cell, ...]
    batches: tuple[Batch, ...]
    method: Method
    ess: float
    content: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Digest of the profile."""
        return str(self.content["sha256"])

    @property
    def n(self) -> int:
        """Patients counted."""
        return sum(cell.n for cell in self.cells)

    @property
    def levels(self) -> tuple[float, ...]:
        """Interval levels held by the table."""
        return tuple(self.content["table"]["levels"])

    def to_json(self) -> str:
        """Return the profile as a file's text; the same profile gives the same text."""
        return _dump(self.content)

    def notices(self) -> tuple[Notice, ...]:
        """Limits that go with this clinic's numbers."""
        kinds = sorted({cell.denominator for cell in self.cells})
        if kinds == ["completers"]:
            return (
                Notice(
                    "completers_counted",
                    "The clinic counts completers only: patients who stopped early are "
                    "missing, so its rates are higher than among all treated.",
                ),
            )
        if len(kinds) > 1:
            return (
                Notice(
                    "denominators_mixed",
                    "Some of the clinic's counts are of all treated and some of completers; "
                    "they are pooled as if alike.",
                ),
            )
        return ()

    def check_model(self, artifact: Artifact) -> None:
        """Refuse another model than the one the profile was written with.

        Raises
        ------
        ArtifactError
            If names, versions or digests differ.
        """
        given = ModelId(artifact.name, artifact.version, artifact.sha256)
        if given != self.model:
            raise ArtifactError(
                f"the clinic profile belongs to {self.model.name} {self.model.version} "
                f"(sha256 {self.model.sha256[:12]}...), the model given is {given.name} "
                f"{given.version} ({given.sha256[:12]}...); {_REBUILD}"
            )


def make_clinic(
    label: str,
    model: ModelId,
    batches: Sequence[Batch],
    cells: Sequence[Cell],
    result: Mapping[str, Any],
) -> Clinic:
    """Assemble a profile; `result` has method, ess, plateau, table and draws.

    Raises
    ------
    InputError
        If the label is too long or not plain text.
    """
    if not isinstance(label, str) or len(label) > LONGEST_LABEL or not label.isprintable():
        raise InputError(
            f"label is {str(label)[:80]!r}; give up to {LONGEST_LABEL} printable characters"
        )
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "sha256": BLANK_DIGEST,
        "label": label,
        "model": model.to_dict(),
        "method": result["method"],
        "ess": result["ess"],
        "plateau_infusions": result["plateau"],
        "cells": [cell.to_dict() for cell in cells],
        "batches": [batch.to_dict() for batch in batches],
        "table": result["table"],
        "draws": result["draws"],
    }
    content["sha256"] = digest_of(_dump(content).encode("utf-8"))
    return _clinic(content)


def load_clinic(path: Path | str) -> Clinic:
    """Read a profile and verify digest, schema and every number.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, altered or of a newer schema.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; {_REBUILD}") from error
    return parse_clinic(raw, str(path))


def parse_clinic(raw: bytes, name: str = "the clinic profile") -> Clinic:
    """Verify a profile's bytes; see :func:`load_clinic`."""
    try:
        content = json.loads(raw, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ArtifactError(f"{name} is not complete JSON ({error}); {_REBUILD}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ArtifactError(f"{name} is not a ketacast clinic profile; {_REBUILD}")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{name} has schema version {version!r}, this ketacast reads {SCHEMA_VERSION}; "
            f"update ketacast, or {_REBUILD}"
        )
    recorded, found = content.get("sha256"), digest_of(raw)
    if recorded != found:
        raise ArtifactError(
            f"{name} was altered: it records sha256 {str(recorded)[:12]}..., its content has "
            f"{found[:12]}...; restore it or {_REBUILD}"
        )
    try:
        clinic = _clinic(content)
        problem = _problem(clinic)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"it is not complete ({error})"
    if problem:
        raise ArtifactError(f"{name}: {problem}; {_REBUILD}")
    return clinic


def clinic_of_document(content: Mapping[str, Any], name: str = "the clinic profile") -> Clinic:
    """Verify a profile that was read as JSON elsewhere; see :func:`load_clinic`.

    Raises
    ------
    ArtifactError
        If it was altered or is no profile.
    """
    return parse_clinic(_dump(content).encode("utf-8"), name)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


def _clinic(content: dict[str, Any]) -> Clinic:
    model = content["model"]
    return Clinic(
        label=content["label"],
        model=ModelId(model["name"], model["version"], model["sha256"]),
        cells=tuple(_cell(entry) for entry in content["cells"]),
        batches=tuple(
            Batch(entry["batch"], tuple(_cell(cell) for cell in entry["cells"]))
            for entry in content["batches"]
        ),
        method=content["method"],
        ess=content["ess"],
        content=content,
    )


def _cell(entry: Mapping[str, Any]) -> Cell:
    low, high = entry["failed_trials"]
    return Cell(**{**entry, "failed_trials": (low, high)})


def _problem(clinic: Clinic) -> str | None:
    content = clinic.content
    if not isinstance(clinic.label, str) or not _DIGEST.fullmatch(clinic.model.sha256):
        return "label or model is not text"
    every = [cell for batch in clinic.batches for cell in batch.cells]
    if cumulative(every, content["plateau_infusions"]) != clinic.cells:
        return "its counts do not add up to its batches"
    if clinic.method not in ("new clinic", "reweighted", "refitted"):
        return f"method is {clinic.method!r}"
    if (clinic.method == "new clinic") != (content["draws"] is None) or not clinic.ess > 0:
        return "method, ess and draws do not fit together"
    return _table_problem(content["table"])


def _table_problem(table: Mapping[str, Any]) -> str | None:
    if table["raters"] != list(RATERS) or sorted(table["values"]) != sorted(OUTCOMES):
        return "the table has other raters or outcomes"
    shape = [len(table[axis]) for axis in ("failed_trials", "infusions", "raters")]
    width = len(table["columns"])
    if width != 2 + 2 * len(table["levels"]) or 0 in shape:
        return "the table's columns do not fit its levels"
    cells = {
        outcome: [cell for trials in values for infusions in trials for cell in infusions]
        for outcome, values in table["values"].items()
    }
    for outcome, found in cells.items():
        if len(found) != math.prod(shape) or any(len(cell) != width for cell in found):
            return f"the table of {outcome} is not {' x '.join(map(str, shape))}"
        if not all(type(v) is float and 0.0 <= v <= 1.0 for cell in found for v in cell):
            return f"the table of {outcome} holds a value that is not a probability"
    return None


def _dump(content: Mapping[str, Any]) -> str:
    """JSON with a line for each entry."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"
