"""What is known of a simulation that was asked for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from ketacast_service.errors import PROBLEMS
from ketacast_service.moments import utc_text

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[State, ...]] = get_args(State)
FINISHED: Final[frozenset[str]] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on.

    Attributes
    ----------
    waiting : int
        Simulations queued, of all clients.
    unfinished : int
        Simulations queued or running, of one client.
    kept : int
        Simulations kept, of one client, finished ones included.
    running : int
        Simulations run at a time.
    seconds : float
        Longest running time of one.
    days : int
        How long a finished one is kept.
    """

    waiting: int
    unfinished: int
    kept: int
    running: int
    seconds: float
    days: int


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of a result."""

    name: str
    bytes: int
    sha256: str
    parts: int


@dataclass(frozen=True, slots=True)
class Job:
    """A simulation that was asked for.

    Attributes
    ----------
    id, owner : str
        The owner is the client that asked.
    state : {"queued", "running", "done", "failed", "cancelled"}
    document : str
        The specification as JSON; empty in what is only shown.
    profiles : mapping of str to str
        Clinic profiles by the file name that the specification gives them.
    model_sha256 : str
        The model it was taken on with; it is run with no other.
    created : str
        In UTC, as the other times.
    started, finished : str or None
    done, total : int
        Patient-courses; 0 of 0 before it has begun.
    seconds : float
        Running time so far.
    attempts : int
        Starts since it last got further, some counted more than once.
    problem : mapping or None
        Why it failed: ``slug`` and ``detail``.
    files : sequence of JobFile
    title, engine : str
        As the document has them.
    """

    id: str
    owner: str
    state: State
    document: str
    model_sha256: str
    created: str
    profiles: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    attempts: int = 0
    problem: Mapping[str, str] | None = None
    files: Sequence[JobFile] = ()
    title: str = ""
    engine: str = "counts"

    def row(self) -> dict[str, Any]:
        """Return the columns of a new row."""
        return {
            "id": self.id,
            "owner": self.owner,
            "state": self.state,
            "document": self.document,
            "profiles": zlib.compress(json.dumps(dict(self.profiles)).encode()),
            "model_sha256": self.model_sha256,
            "created": self.created,
            "done": self.done,
            "total": self.total,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "files": files_text(self.files),
        }

    def shown(self, days: int, before: int | None = None) -> dict[str, Any]:
        """Return what its client is shown.

        Parameters
        ----------
        days : int
            How long it is kept once finished.
        before : int, optional
            Simulations that are run before it.
        """
        found: dict[str, Any] = {
            "id": self.id,
            "state": self.state,
            "title": self.title,
            "engine": self.engine,
            "model_sha256": self.model_sha256,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "expires": None if self.finished is None else expiry(self.finished, days),
            "seconds": round(self.seconds, 3),
            "progress": {
                "done": self.done,
                "total": self.total,
                "share": self.done / self.total if self.total else 0.0,
            },
            "problem": None if self.problem is None else shown_problem(self.problem),
            "files": [
                {"name": one.name, "bytes": one.bytes, "sha256": one.sha256} for one in self.files
            ],
        }
        if before is not None:
            found["before"] = before
        return found


def shown_problem(problem: Mapping[str, str]) -> dict[str, Any]:
    """Return why a simulation failed, in the members of a problem document."""
    kind = PROBLEMS[problem["slug"]]
    return {"type": kind.type, "title": kind.title, "detail": problem["detail"]}


def files_text(files: Sequence[JobFile]) -> str:
    """Return the column ``files``."""
    return json.dumps([asdict(one) for one in files])


def expiry(finished: str, days: int) -> str:
    """Return until when a finished simulation is kept."""
    return utc_text(datetime.fromisoformat(finished) + timedelta(days=days))
