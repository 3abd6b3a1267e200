"""Bodies of answers, for the OpenAPI document; answers are made from ``Prediction.to_dict``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[list[Probability], Field(min_length=2, max_length=2)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f-]{36}$")]


class Shown(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(extra="forbid")


class ModelShown(Shown):
    """Which model answered."""

    name: str
    version: str
    sha256: Sha256


class TrialsShown(Shown):
    """Failed trials asked for."""

    min: int
    max: int


class InputsShown(Shown):
    """What was asked."""

    failed_trials: TrialsShown
    infusions: int
    rated_by: Literal["self", "clinician", "unknown"]
    so_far: str | None = None


class ClinicEstimateShown(Shown):
    """Chance of one outcome in this clinic, after its own results."""

    expected: Probability
    median: Probability
    this_clinic: dict[str, Range]


class EstimateShown(Shown):
    """Chance of one outcome; ranges by level."""

    expected: Probability = Field(description="mean over new clinics")
    median: Probability = Field(description="median over new clinics")
    average_clinic: dict[str, Range] = Field(description="rate of a clinic with no random effect")
    new_clinic: dict[str, Range] = Field(
        description="rate of a clinic not yet seen; at 0.8 the likely range"
    )
    clinic: ClinicEstimateShown | None = None


class CoursePointShown(Shown):
    """Chances after one infusion."""

    infusion: int
    response: EstimateShown
    remission: EstimateShown


class NoticeShown(Shown):
    """A limit that goes with the numbers."""

    code: str
    message: str


class BasisShown(Shown):
    """What the numbers rest on."""

    cohorts: int
    patients: int


class ClinicShown(Shown):
    """Whose own results entered."""

    label: str
    sha256: Sha256
    n: int
    method: str


class PredictionAnswer(Shown):
    """Chances of response and remission with their ranges, limits and basis."""

    id: Id
    model: ModelShown
    inputs: InputsShown
    response: EstimateShown
    remission: EstimateShown
    course: list[CoursePointShown]
    warnings: list[NoticeShown]
    basis: BasisShown
    extended: list[CoursePointShown] | None = None
    clinic: ClinicShown | None = None


class RecordAnswer(Shown):
    """What was answered, by which model."""

    id: Id
    time: str
    kind: str
    model_sha256: Sha256
    request_id: str
    input: dict[str, Any]
    output: dict[str, Any] | None = Field(
        description="the answer without its id; null for a piece of a batch, "
        "whose digest is output_sha256"
    )
    output_sha256: Sha256


class ClinicAnswer(Shown):
    """A stored clinic."""

    id: Id
    label: str
    sha256: Sha256
    n: int
    method: str
    model: ModelShown
    batches: list[str]
    created: str
    updated: str
    warnings: list[NoticeShown]


class ClinicList(Shown):
    """Clinics of the asking client."""

    clinics: list[ClinicAnswer]
    next: Id | None = Field(description="ask with after=this for more; null at the end")


class FieldProblemShown(Shown):
    """One offending field."""

    field: str = Field(description="JSON pointer into the body, or name of a parameter")
    detail: str
    remedy: str


class ProblemAnswer(Shown):
    """Problem document (RFC 9457)."""

    type: str = Field(description="urn:ketacast:problem:<slug>; never changes")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblemShown] | None = None


class EvidenceAnswer(Shown):
    """Rows of one table of the evidence."""

    table: str
    sha256: Sha256 = Field(description="digest of all tables of the evidence")
    rows: list[dict[str, Any]]


class LiveAnswer(Shown):
    """The process is alive."""

    alive: Literal[True]


class ReadyAnswer(Shown):
    """Whether predictions can be answered."""

    ready: bool
    model: ModelShown
    audit: str


class VersionAnswer(Shown):
    """Versions."""

    ketacast: str
    model: ModelShown


class RowErrorShown(Shown):
    """A row that was refused."""

    row: int
    type: str
    field: str
    detail: str
    remedy: str


class BatchAnswer(Shown):
    """Answers as columns; a refused row has null in each."""

    model: ModelShown
    basis: BasisShown
    levels: list[float]
    rows: int
    refused: int
    columns: dict[str, list[float | bool | None]] = Field(
        description="response_expected, response_new_clinic_80_low, ..., extrapolated"
    )
    warnings: list[NoticeShown]
    errors: list[RowErrorShown]
