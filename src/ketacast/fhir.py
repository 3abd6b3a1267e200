"""A prediction as a FHIR R4 RiskAssessment (standard library only).

Per outcome one prediction says how likely it is and one its range. R4 wants both as
percentages: 38.0, never 0.38. The subject is the caller's: it is echoed and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from ketacast.errors import InputError
from ketacast.options import OUTCOMES
from ketacast.prediction import ClinicEstimate, Interval, OutcomeEstimate, Prediction

SYSTEM: Final = "urn:ketacast"
LIKELY_LEVEL: Final = 0.8
UCUM: Final = "http://unitsofmeasure.org"
LONGEST_REFERENCE: Final = 512

_NOT_ADVICE: Final = (
    "Not a medical device. It says nothing on harms and does not advise to start, continue or stop."
)
_MEANING: Final = {
    "response": "Response: the depression score falls by half or more",
    "remission": "Remission: the depression score is below the scale's cut-off",
}


def risk_assessment(
    prediction: Prediction,
    *,
    subject: str,
    occurrence: datetime,
    basis: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Format a prediction as a RiskAssessment.

    Parameters
    ----------
    prediction : Prediction
        From :func:`ketacast.predict`.
    subject : str
        Reference to the patient, such as ``Patient/123``; echoed.
    occurrence : datetime
        When the prediction was made, with its time zone.
    basis : sequence of str
        References to the resources that were used.
    notes : sequence of str
        Further remarks, for example likely exclusions; the prediction's own warnings
        come first.

    Returns
    -------
    dict
        The resource. Probabilities are percentages with the digits of the prediction.

    Raises
    ------
    InputError
        If a reference is not usable or the moment has no time zone.

    Notes
    -----
    https://hl7.org/fhir/R4/riskassessment.html
    """
    if occurrence.tzinfo is None:
        raise InputError(f"occurrence is {occurrence!r}; give a moment with its time zone")
    model = prediction.model
    resource: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "status": "final",
        "method": {
            "coding": [
                {
                    "system": f"{SYSTEM}:model",
                    "version": model.version,
                    "code": model.name,
                    "display": f"{model.name} {model.version} (sha256 {model.sha256[:12]})",
                }
            ],
            "text": "Bayesian meta-regression of "
            f"{prediction.basis.cohorts} cohorts with {prediction.basis.patients:,} patients",
        },
        "code": {"text": f"Outlook for a course of {_course(prediction)}"},
        "subject": _reference("subject", subject),
        "occurrenceDateTime": occurrence.isoformat(timespec="seconds"),
    }
    if basis:
        resource["basis"] = [_reference("basis", entry) for entry in basis]
    resource["prediction"] = list(_predictions(prediction))
    remarks = [notice.message for notice in prediction.warnings]
    resource["note"] = [
        {"text": text}
        for text in (
            *remarks,
            *notes,
            _NOT_ADVICE,
        )
    ]
    return resource


def _course(prediction: Prediction) -> str:
    inputs = prediction.inputs
    low, high = inputs.failed_trials
    trials = f"{low}" if low == high else f"{low} to {high}"
    rater = "rater unknown" if inputs.rated_by == "unknown" else f"{inputs.rated_by}-rated"
    given = f", {inputs.so_far} so far" if inputs.so_far else ""
    noun = "infusion" if inputs.infusions == 1 else "infusions"
    return (
        f"{inputs.infusions} ketamine {noun}, {trials} failed antidepressant trials, {rater}{given}"
    )


def _predictions(prediction: Prediction) -> Iterator[dict[str, Any]]:
    for outcome in OUTCOMES:
        estimate: OutcomeEstimate = getattr(prediction, outcome)
        yield from _pair(outcome, "a new clinic", estimate, estimate.new_clinic)
        if estimate.clinic is not None:
            yield from _pair(outcome, "this clinic", estimate.clinic, estimate.clinic.this_clinic)


def _pair(
    outcome: str, where: str, estimate: OutcomeEstimate | ClinicEstimate, ranges: Any
) -> Iterator[dict[str, Any]]:
    """One prediction with the expected chance, one with its range."""
    meaning = {
        "coding": [{"system": f"{SYSTEM}:outcome", "code": outcome}],
        "text": _MEANING[outcome],
    }
    yield {
        "outcome": meaning,
        "probabilityDecimal": _percent(estimate.expected),
        "rationale": f"Mean over what the rate in {where} may be",
    }
    level = LIKELY_LEVEL if LIKELY_LEVEL in ranges else max(ranges)
    bounds: Interval = ranges[level]
    yield {
        "outcome": meaning,
        "probabilityRange": {"low": _quantity(bounds.low), "high": _quantity(bounds.high)},
        "rationale": f"{100 * level:g} % range of the rate in {where} among patients with these "
        "inputs; not one person's fate",
    }


def _quantity(share: float) -> dict[str, Any]:
    return {"value": _percent(share), "unit": "%", "system": UCUM, "code": "%"}


def _percent(share: float) -> float:
    """Move the point by two: the shares have ten decimals, so eight are exact."""
    return round(100.0 * share, 8)


def _reference(name: str, text: object) -> dict[str, str]:
    usable = isinstance(text, str) and 0 < len(text) <= LONGEST_REFERENCE
    if not usable or any(character.isspace() for character in str(text)):
        raise InputError(
            f"{name} is not a reference; give one such as Patient/123, without spaces and of at "
            f"most {LONGEST_REFERENCE} characters"
        )
    return {"reference": str(text)}
