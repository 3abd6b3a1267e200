"""What a client gives back beside the library's own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ketacast.client.documents import prediction_from_dict
from ketacast.errors import InputError
from ketacast.prediction import ModelId, Notice, Prediction


@dataclass(frozen=True, slots=True)
class ServedPrediction:
    """A prediction and the record that the service keeps of it.

    Attributes
    ----------
    id : str
        Of the record; ``Client.recall(id)`` gives it back.
    prediction : Prediction
        The library's own value, equal to that of the same model on this machine.
    request_id : str
        By which the service's operator finds the request.
    recorded : bool
        False where the service was set up to answer although its store was down.
    """

    id: str
    prediction: Prediction
    request_id: str
    recorded: bool = True

    def __str__(self) -> str:
        return str(self.prediction)

    def _repr_html_(self) -> str:
        return self.prediction._repr_html_()


@dataclass(frozen=True, slots=True)
class Record:
    """What the service answered before.

    Attributes
    ----------
    id, time, kind, model_sha256, request_id : str
        Of the record; the time is in UTC.
    input : mapping
        What was asked.
    output : mapping or None
        What was answered; None where only its digest is kept.
    """

    id: str
    time: str
    kind: str
    model_sha256: str
    request_id: str
    input: Mapping[str, Any]
    output: Mapping[str, Any] | None

    @property
    def prediction(self) -> Prediction:
        """The prediction that was answered.

        Raises
        ------
        InputError
            If the record is of another kind, or its answer is not kept.
        """
        if self.kind != "prediction" or self.output is None:
            raise InputError(
                f"record {self.id} is of kind {self.kind!r}, which holds no single prediction; "
                "read its input and output instead"
            )
        return prediction_from_dict(self.output)


@dataclass(frozen=True, slots=True)
class ServedClinic:
    """A clinic that the service keeps.

    Attributes
    ----------
    id : str
        For ``Client.predict(clinic=id)``.
    label : str
        Free text.
    sha256 : str
        Digest of its profile.
    n : int
        Patients counted.
    method : str
        "new clinic" (no counts), "reweighted" or "refitted".
    model : ModelId
        The model that its profile belongs to.
    created, updated : str
        In UTC.
    batches : tuple of str
        Periods that were sent.
    warnings : tuple of Notice
        Limits that go with its numbers.
    """

    id: str
    label: str
    sha256: str
    n: int
    method: str
    model: ModelId
    created: str
    updated: str
    batches: tuple[str, ...] = ()
    warnings: tuple[Notice, ...] = ()
