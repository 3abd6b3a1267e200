"""From a request to a simulation that can be run, or the problem that says why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ketacast.errors import ArtifactError, InputError
from ketacast.updating.profile import clinic_of_document
from ketacast_service.api.clinic_store import find_clinic
from ketacast_service.api.requests import ClinicProfile, StoredClinic
from ketacast_service.api.simulation_faults import problem_of, refused
from ketacast_service.api.simulation_requests import SentProfile, SimulationRequest
from ketacast_service.calls import Call
from ketacast_service.errors import ProblemError
from ketacast_service.moments import new_id, utc_text
from ketacast_service.simulations import Job

if TYPE_CHECKING:
    from ketacast.updating import Clinic
    from ketacast_service.state import Service

MOST_VALUES: Final = 1 << 23
"""Outcomes that a result may hold: 64 MiB before compression."""


async def new_job(service: Service, body: SimulationRequest, call: Call) -> Job:
    """Make the job of a request.

    Raises
    ------
    ProblemError
        "invalid-input" for what cannot be run, "not-found" for a clinic of somebody else.
    """
    names, profiles = await _clinics(service, body, call)
    document = body.document(names)
    text = await service.work.run(checked, document)
    return Job(
        id=new_id(),
        owner=call.client.id,
        state="queued",
        document=text,
        profiles=profiles,
        model_sha256=service.predictor.model.sha256,
        created=utc_text(),
        title=body.simulation.title,
        engine=body.simulation.engine,
    )


def checked(document: dict[str, Any]) -> str:
    """Return a specification's document with every default, as JSON.

    Raises
    ------
    ProblemError
        "invalid-input" if it cannot be run.
    """
    from ketacast.simulation.documents import from_document, to_document  # noqa: PLC0415  # NumPy
    from ketacast.simulation.engines import check_rules  # noqa: PLC0415
    from ketacast.simulation.running import values_of  # noqa: PLC0415
    from ketacast.simulation.tasks import MOST_TASKS, PATIENTS  # noqa: PLC0415

    try:
        specification = from_document(document)
        check_rules(specification)
    except InputError as error:
        raise problem_of(error, document) from error
    size = values_of(specification)
    if size > MOST_VALUES:
        raise refused(
            "/simulation/draws",
            f"the result would hold {size:,} values, the service keeps at most {MOST_VALUES:,}",
            "give fewer draws, strategies or weeks, or run it yourself: `ketacast simulate run`",
        )
    tasks = specification.draws * -(-specification.patients // PATIENTS)
    if specification.engine == "individuals" and tasks > MOST_TASKS:
        raise refused(
            "/simulation/patients",
            f"{specification.draws:,} draws of {specification.patients:,} individuals make "
            f"{tasks:,} tasks, the service runs at most {MOST_TASKS:,}",
            'give fewer draws or patients, or the engine "counts"',
        )
    return json.dumps(to_document(specification))


async def _clinics(
    service: Service, body: SimulationRequest, call: Call
) -> tuple[list[str], dict[str, str]]:
    """Return for each group its clinic as the library names it, and the profiles by file name."""
    profiles: dict[str, str] = {}
    names: dict[object, str] = {}  # by id of a stored clinic, by digest of a profile sent along
    found: list[str | None] = []
    for place, group in enumerate(body.cohort.groups):
        given = group.clinic
        if isinstance(given, str):
            found.append(given)
        elif isinstance(given, StoredClinic):
            if given.id not in names:
                clinic = (await find_clinic(service, given.id, call)).clinic
                names[given.id] = _added(service, clinic, profiles, place)
            found.append(names[given.id])
        elif isinstance(given, ClinicProfile):
            clinic = await _sent(service, given.profile, place)
            names[clinic.sha256] = _added(service, clinic, profiles, place)
            found.append(names[clinic.sha256])
        else:
            found.append(None)  # sent with this group or another, which may come later
    return [
        name if name is not None else _sent_elsewhere(body, names, place)
        for place, name in enumerate(found)
    ], profiles


def _sent_elsewhere(body: SimulationRequest, names: Mapping[object, str], place: int) -> str:
    given = body.cohort.groups[place].clinic
    sha256 = given.sha256 if isinstance(given, SentProfile) else None
    if sha256 not in names:
        raise refused(
            f"/cohort/groups/{place}/clinic/sha256",
            f"clinic is the profile {sha256}, which no group of this request sends",
            'give {"profile": {...}} with one of the groups',
        )
    return names[sha256]


async def _sent(service: Service, profile: dict[str, Any], place: int) -> Clinic:
    try:
        return await service.work.run(clinic_of_document, profile)
    except ArtifactError as error:
        raise _clinic_problem(error, place) from error


def _clinic_problem(error: ArtifactError, place: int) -> ProblemError:
    detail, _, remedy = str(error).partition("; ")
    return refused(f"/cohort/groups/{place}/clinic", detail, remedy)


def _added(service: Service, clinic: Clinic, profiles: dict[str, str], place: int) -> str:
    try:
        clinic.check_model(service.predictor.artifact)
    except ArtifactError as error:
        raise _clinic_problem(error, place) from error
    name = f"clinic-{clinic.sha256[:12]}.json"
    profiles[name] = clinic.to_json()
    return name
