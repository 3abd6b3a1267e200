"""What can be asked about simulations: each a request and the reading of its answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

from ketacast.client.asking import identifier, post
from ketacast.client.documents import Reading
from ketacast.client.exchange import LIMITED, Answer, Operation, Request, load_json
from ketacast.errors import InputError

if TYPE_CHECKING:
    from ketacast.simulation import Specification

Given: TypeAlias = "Specification | Mapping[str, Any]"

ENDED: Final = frozenset({"done", "failed", "cancelled"})

_PATH: Final = "/v1/simulations"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ANY: Final = "*/*"


@dataclass(frozen=True, slots=True)
class ServedSimulation:
    """A simulation that the service was asked for.

    Attributes
    ----------
    id : str
    state : {"queued", "running", "done", "failed", "cancelled"}
    title, engine, model_sha256, created : str
    done, total : int
        Patient-courses; 0 of 0 before it has begun.
    seconds : float
        Running time so far.
    problem : str
        Why it failed, or empty.
    files : tuple of str
        Names of the result's files.
    """

    id: str
    state: str
    title: str
    engine: str
    model_sha256: str
    created: str
    done: int
    total: int
    seconds: float
    problem: str = ""
    files: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0


def submitting(specification: Given) -> Operation[ServedSimulation]:
    """Send a specification."""
    request = post(_PATH, document_of(specification))
    # Not again after 503: it may have been taken on.
    return Operation(request, _read, expected=(202,), again=LIMITED)


def looking(given: str) -> Operation[ServedSimulation]:
    """Ask how far a simulation is."""
    one = identifier("id", given)
    return Operation(Request("GET", f"{_PATH}/{one}"), lambda answer: _same(answer, one))


def listing(after: str) -> Operation[tuple[list[ServedSimulation], str | None]]:
    """Ask for a page of this client's simulations."""

    def read(answer: Answer) -> tuple[list[ServedSimulation], str | None]:
        found = Reading(load_json(answer))
        following = found.raw("next")
        page = list(found.each("simulations", _simulation))
        return page, None if following is None else identifier("next", following)

    query = (("after", after),) if after else ()
    return Operation(Request("GET", _PATH, query), read)


def cancelling(given: str) -> Operation[ServedSimulation]:
    """End a simulation."""
    one = identifier("id", given)
    return Operation(Request("POST", f"{_PATH}/{one}/cancel"), lambda answer: _same(answer, one))


def removing(given: str) -> Operation[None]:
    """Remove a simulation."""
    one = identifier("id", given)
    return Operation(Request("DELETE", f"{_PATH}/{one}"), lambda _: None, expected=(204,))


def reporting(given: str) -> Operation[dict[str, Any]]:
    """Ask for a report."""
    one = identifier("id", given)

    def read(answer: Answer) -> dict[str, Any]:
        found = load_json(answer)
        Reading(found).items("outcomes")
        return dict(found)

    return Operation(Request("GET", f"{_PATH}/{one}/result"), read)


def fetching(given: str, name: str) -> Operation[bytes]:
    """Ask for a file."""
    one = identifier("id", given)
    if not isinstance(name, str) or not name:
        raise InputError(f"name is {name!r}; give one of the simulation's files")
    path = f"{_PATH}/{one}/files/{quote(name, safe='')}"

    def read(answer: Answer) -> bytes:
        # Proxies that compress make it weak, or add a word.
        named = _DIGEST.findall(answer.headers.get("etag", ""))
        if named and named != [hashlib.sha256(answer.body).hexdigest()]:
            raise InputError("its bytes are not those that the service keeps; ask again")
        return answer.body

    return Operation(Request("GET", path, accept=_ANY), read)


def document_of(specification: Given) -> dict[str, Any]:
    """Return what is sent of a specification, clinic profiles included.

    Raises
    ------
    InputError
        If a profile cannot be read.
    """
    if isinstance(specification, Mapping):
        return dict(specification)
    from ketacast.simulation.documents import to_document  # noqa: PLC0415

    document = to_document(specification)
    sent: dict[str, Any] = {}
    for group in document["cohort"]["groups"]:
        path = group.get("clinic", "new")
        if path in sent:  # once is enough, and a request has its limits
            group["clinic"] = {"sha256": sent[path]}
        elif path not in ("new", "average"):
            profile = _profile(Path(path))
            sent[path] = profile.get("sha256") if isinstance(profile, dict) else None
            group["clinic"] = {"profile": profile}
    return document


def _profile(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the clinic profile {path} cannot be read ({error}); give the path of one that "
            "`ketacast clinic update` wrote"
        ) from error


def _same(answer: Answer, one: str) -> ServedSimulation:
    found = _read(answer)
    if found.id != one:
        raise InputError(f"it is simulation {found.id}, asked was {one}; do not use it")
    return found


def _read(answer: Answer) -> ServedSimulation:
    return _simulation(Reading(load_json(answer)))


def _simulation(found: Reading) -> ServedSimulation:
    progress = found.inner("progress")
    problem = found.raw("problem")
    return ServedSimulation(
        id=identifier("id", found.text("id")),
        state=found.text("state"),
        title=found.text("title"),
        engine=found.text("engine"),
        model_sha256=found.text("model_sha256"),
        created=found.text("created"),
        done=progress.whole("done"),
        total=progress.whole("total"),
        seconds=found.seconds("seconds"),
        problem="" if problem is None else found.inner("problem").text("detail"),
        files=found.each("files", lambda one: one.text("name")),
    )
