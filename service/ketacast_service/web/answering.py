"""From inputs to answers: predicted by the library, recorded before they are shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from ketacast.comparison import PlanComparison, compare_plans
from ketacast.errors import ArtifactError
from ketacast.options import Rater
from ketacast.prediction import Prediction
from ketacast.predictor import DEFAULT_LEVELS
from ketacast.updating.profile import clinic_of_document
from ketacast_service.api.predictions import find_answer
from ketacast_service.api.recording import record
from ketacast_service.api.requests import ClinicProfile, PredictionRequest, TrialsRange
from ketacast_service.calls import Call
from ketacast_service.errors import ProblemError
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.observability import PREDICTIONS
from ketacast_service.state import Service
from ketacast_service.web.inputs import Asked, Fault

KIND: Final = "page"
COMPARISON: Final = "page comparison"
_ANSWERED: Final = PREDICTIONS.labels("page")


@dataclass(frozen=True, slots=True)
class Answered:
    """What is shown for complete inputs.

    Attributes
    ----------
    prediction : Prediction
    comparison : PlanComparison or None
        If another plan was given.
    record : str
        Identifier in the audit trail.
    headers : list of (bytes, bytes)
        Says if the record could not be kept, where the settings allow that.
    """

    prediction: Prediction
    comparison: PlanComparison | None
    record: str
    headers: list[tuple[bytes, bytes]]


async def answer_inputs(service: Service, asked: Asked, call: Call) -> Answered | None:
    """Answer complete inputs; None, with a fault noted, if a profile cannot be used.

    Raises
    ------
    ProblemError
        "unavailable" or another problem that is none of the inputs.
    """
    request = _request(asked)
    try:
        answer = await find_answer(service, request, call)
        compared = None
        if asked.compare is not None:
            compared = await service.work.run(_compare, service, asked)
    except ProblemError as problem:
        if problem.slug != "invalid-input" or asked.profile is None:
            raise
        asked.faults["clinic"] = Fault("clinic_refused", detail=problem.detail)
        return None
    prediction = answer.prediction
    if prediction is None:
        raise ProblemError("internal-error", "an answer came without its prediction; ask again")
    keeping = [record(service, call, KIND, answer)]
    if compared is not None:
        keeping.append(record(service, call, COMPARISON, _answer_of(compared)))
    (identifier, headers), *_ = await asyncio.gather(*keeping)
    _ANSWERED.inc()
    return Answered(prediction, compared, identifier, headers)


def _request(asked: Asked) -> PredictionRequest:
    low, high = asked.trials or (0, 0)
    return PredictionRequest(
        failed_trials=low if low == high else TrialsRange(min=low, max=high),
        infusions=asked.infusions or 0,
        rated_by=_rater(asked),
        so_far=asked.so_far,
        clinic=None if asked.profile is None else ClinicProfile(profile=dict(asked.profile)),
    )


def _rater(asked: Asked) -> Rater:
    if asked.rated_by is None:
        raise ProblemError("invalid-input", "rated_by is missing; give who rates")
    return asked.rated_by


def _compare(service: Service, asked: Asked) -> PlanComparison:
    clinic = None
    if asked.profile is not None:
        try:
            clinic = clinic_of_document(asked.profile)
        except ArtifactError as error:
            raise ProblemError("invalid-input", str(error)) from error
    return compare_plans(
        failed_trials=asked.trials or (0, 0),
        infusions=(asked.infusions or 0, asked.compare or 0),
        rated_by=_rater(asked),
        levels=DEFAULT_LEVELS,
        clinic=clinic,
        predictor=service.predictor,
    )


def _answer_of(compared: PlanComparison) -> Answer:
    given: dict[str, Any] = {
        "first": compared.first.inputs.to_dict(),
        "second": compared.second.inputs.to_dict(),
        "levels": list(DEFAULT_LEVELS),
    }
    if compared.first.clinic is not None:
        given["clinic_sha256"] = compared.first.clinic.sha256
    body = as_json(compared.to_dict())
    return Answer(as_json(given), body, digest(body))
