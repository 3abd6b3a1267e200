"""Bodies of answers on simulations, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ketacast.simulation.specification import Engine
from ketacast_service.api.answers import Id, ModelShown, Sha256, Shown
from ketacast_service.simulations.jobs import State


class ProgressShown(Shown):
    """How far it is, in patient-courses (patients times draws)."""

    done: int
    total: int = Field(description="0 before it has begun")
    share: Annotated[float, Field(ge=0, le=1)]


class FailureShown(Shown):
    """Why it failed, in the members of a problem document."""

    type: str
    title: str
    detail: str


class FileShown(Shown):
    """A file of the result."""

    name: str
    bytes: int
    sha256: Sha256


class SimulationAnswer(Shown):
    """A simulation that was asked for."""

    id: Id
    state: State
    title: str
    engine: Engine
    model_sha256: Sha256
    created: str
    started: str | None
    finished: str | None
    expires: str | None = Field(description="when it is removed with its result")
    seconds: float = Field(description="running time so far")
    progress: ProgressShown
    problem: FailureShown | None
    files: list[FileShown] = Field(description="of the result, once it is done")
    before: int | None = Field(None, description="simulations that are run before it")


class SimulationList(Shown):
    """Simulations of this client, oldest first."""

    simulations: list[SimulationAnswer]
    next: Id | None = Field(description="give it as `after` for the next page")


class BasisOfSimulation(Shown):
    """What a result rests on beside the evidence."""

    assumed: list[str] = Field(description="your numbers")
    carried_over: list[str] = Field(description="from other treatments or patients")
    limits: list[str] = Field(description="what the simulation cannot say")


class SimulationReport(Shown):
    """Outcomes at the horizon and their differences, with ranges over draws of the model."""

    schema_version: int
    title: str
    ketacast: str
    model: ModelShown
    clinics: dict[str, Sha256] = Field(description="profiles that were used")
    engine: Engine
    patients: int
    horizon_weeks: int
    draws: int
    seed: int
    class_error: float
    outcomes: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    infusions_per_response_week: list[dict[str, Any]]
    incremental: list[dict[str, Any]] | None = None
    net_benefit: list[dict[str, Any]] | None = None
    basis: BasisOfSimulation
    specification: dict[str, Any]
