"""Bodies of requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from ketacast.options import Rater
from ketacast_service.validation import PRINTABLE, Strict

Trials = Annotated[int, Field(ge=0, le=20)]
TableLevel = Annotated[float, Field(json_schema_extra={"enum": [0.5, 0.8, 0.9, 0.95]})]
Reference = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$")]
Level = Annotated[float, Field(ge=0.01, le=0.99)]


class TrialsRange(Strict):
    """The lowest and highest number of failed trials that it may be."""

    min: Trials
    max: Trials


class StoredClinic(Strict):
    """A clinic made by ``POST /v1/clinics``."""

    id: Annotated[str, Field(min_length=36, max_length=36, pattern="^[0-9a-f-]{36}$")]


class ClinicProfile(Strict):
    """A clinic profile as ``ketacast clinic update`` writes it, sent along and not stored."""

    profile: dict[str, Any]


def _is_range(value: object) -> str:
    return "range" if isinstance(value, (dict, TrialsRange)) else "number"


def _clinic_kind(value: object) -> str:
    is_profile = isinstance(value, ClinicProfile) or (
        isinstance(value, dict) and "profile" in value
    )
    return "profile" if is_profile else "stored"


FailedTrials = Annotated[
    Annotated[Trials, Tag("number")] | Annotated[TrialsRange, Tag("range")],
    Discriminator(_is_range),
]
ClinicReference = Annotated[
    Annotated[StoredClinic, Tag("stored")] | Annotated[ClinicProfile, Tag("profile")],
    Discriminator(_clinic_kind),
]


class PredictionRequest(Strict):
    """One patient's inputs. Send no name, number or date of birth: none is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"failed_trials": 6, "infusions": 6, "rated_by": "self"},
                {
                    "failed_trials": {"min": 4, "max": 8},
                    "infusions": 8,
                    "rated_by": "clinician",
                    "so_far": "NNR",
                    "levels": [0.5, 0.8, 0.95],
                },
            ]
        }
    )

    failed_trials: FailedTrials = Field(
        description='a whole number from 0 to 20, or a range such as {"min": 4, "max": 8}: '
        "adequate antidepressant trials that failed in the current episode"
    )
    infusions: int = Field(
        ge=1, le=30, description="a whole number from 1 to 30: infusions planned in all"
    )
    rated_by: Rater = Field(
        description='"self", "clinician" or "unknown": who rates the depression scale'
    )
    so_far: str = Field(
        "",
        max_length=29,
        pattern="^[NRM?]*$",
        description="a letter for each infusion given, fewer than planned: N no response, "
        "R response, M remission, ? not known",
    )
    levels: tuple[Level, ...] = Field(
        (0.8, 0.95),
        min_length=1,
        max_length=8,
        description="1 to 8 levels of the ranges, each from 0.01 to 0.99",
    )
    clinic: ClinicReference | None = Field(
        None,
        description='{"id": ...} of a stored clinic or {"profile": {...}}: '
        "shows this clinic beside a new one",
    )

    subject: Reference | None = Field(
        None,
        description="reference to the patient, only where application/fhir+json is accepted: "
        "echoed in the resource, stored nowhere",
    )
    basis: tuple[Reference, ...] = Field(
        (),
        max_length=200,
        description="references to the resources used, only for application/fhir+json: echoed",
    )

    @property
    def trials(self) -> tuple[int, int]:
        """Lowest and highest number of failed trials."""
        given = self.failed_trials
        return (given.min, given.max) if isinstance(given, TrialsRange) else (given, given)


class CellCounts(Strict):
    """Counts of patients with the same covariates."""

    failed_trials: Annotated[
        list[Trials],
        Field(min_length=2, max_length=2, description="[lowest, highest] number of failed trials"),
    ]
    infusions: int = Field(ge=1, le=30, description="a whole number from 1 to 30: received")
    rated_by: Literal["self", "clinician"] = Field(description='"self" or "clinician"')
    denominator: Literal["all_treated", "completers"] = Field(
        description='"all_treated" or "completers": whom n counts'
    )
    n: int = Field(ge=0, le=1_000_000, description="patients")
    responders: int | None = Field(None, ge=0, description="of the n, or null if not recorded")
    remitters: int | None = Field(None, ge=0, description="of the n, or null if not recorded")


class BatchCounts(Strict):
    """The counts of one period."""

    batch: Annotated[str, Field(max_length=40, pattern="^[A-Za-z0-9][A-Za-z0-9 ._/-]*$")] = Field(
        description="name of a period such as 2026-Q1, never a day"
    )
    cells: Annotated[list[CellCounts], Field(min_length=1, max_length=500)] = Field(
        description="counts, one entry for each set of covariates"
    )


class ClinicRequest(Strict):
    """A new clinic without counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "Day clinic"}]})

    label: Annotated[str, Field(max_length=80, pattern=PRINTABLE)] = Field(
        "", description="up to 80 letters, digits and signs, without a patient's name"
    )


class OutcomesRequest(Strict):
    """A clinic's own results: counts only, nothing about one patient."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "batches": [
                        {
                            "batch": "2026-Q1",
                            "cells": [
                                {
                                    "failed_trials": [4, 8],
                                    "infusions": 6,
                                    "rated_by": "self",
                                    "denominator": "all_treated",
                                    "n": 20,
                                    "responders": 8,
                                    "remitters": 4,
                                }
                            ],
                        }
                    ]
                }
            ]
        }
    )

    batches: Annotated[list[BatchCounts], Field(min_length=1, max_length=100)] = Field(
        description="1 to 100 batches of counts"
    )
    repeated: Literal["refuse", "add"] = Field(
        "refuse", description='"refuse" or "add": what to do with a batch that was sent before'
    )


class BatchColumns(Strict):
    """Many rows as columns. A bad row does not spoil the others: it is reported."""

    failed_trials: list[Any] = Field(description="whole numbers from 0 to 20, one per row")
    infusions: list[Any] | Annotated[int, Field(ge=1, le=30)] = Field(
        description="whole numbers from 1 to 30, one per row or one for all"
    )
    rated_by: list[Any] | Rater = Field(
        description='"self", "clinician" or "unknown", one per row or one for all'
    )
    levels: Annotated[list[TableLevel], Field(min_length=1, max_length=16)] = Field(
        [0.8, 0.95], description="of 0.5, 0.8, 0.9 and 0.95"
    )
