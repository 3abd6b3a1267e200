"""The model that answers, and finished answers kept for the next who asks the same."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ketacast.clinical.artifact import check_draws
from ketacast.prediction import Prediction
from ketacast.predictor import Predictor, load_predictor

MOST_BYTES: Final = 96 << 20
"""Memory of kept answers, about. All point inputs at the default levels take half of it."""
OBJECTS_PER_BYTE: Final = 6
"""A prediction's objects take some five times the memory of its text, beside the text."""


def load_verified(model: Path | None) -> Predictor:
    """Load a model and verify table and draws.

    Raises
    ------
    ArtifactError
        If the model is missing, altered or damaged.
    """
    predictor = load_predictor(model)
    check_draws(predictor.artifact)
    return predictor


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction as it is sent and recorded.

    Attributes
    ----------
    input : bytes
        What was asked, as JSON.
    body : bytes
        The prediction as JSON, without an identifier.
    sha256 : str
        Digest of `body`.
    prediction : Prediction or None
        What was formatted, where it was one.
    """

    input: bytes
    body: bytes
    sha256: str
    prediction: Prediction | None = None


def answer_of(prediction: Prediction, levels: tuple[float, ...]) -> Answer:
    """Format a prediction."""
    asked: dict[str, Any] = {**prediction.inputs.to_dict(), "levels": list(levels)}
    if prediction.clinic is not None:
        asked["clinic_sha256"] = prediction.clinic.sha256
    body = as_json(prediction.to_dict())
    return Answer(as_json(asked), body, digest(body), prediction)


def as_json(document: object) -> bytes:
    """Return compact JSON; a number that is not finite is an error of ours, never sent."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


class Answers:
    """The answers asked for last; the same inputs to the same model give the same bytes.

    Parameters
    ----------
    most : int
        Bytes of memory that they may take, about: answers differ in size by a hundred times.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._most = most
        self._bytes = 0

    def find(self, key: Hashable) -> Answer | None:
        """Return the answer kept for a key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer, forgetting those not asked for longest."""
        if key in self._kept:
            return
        self._kept[key] = answer
        self._bytes += _weight(answer)
        while self._bytes > self._most and len(self._kept) > 1:
            _, forgotten = self._kept.popitem(last=False)
            self._bytes -= _weight(forgotten)


def _weight(answer: Answer) -> int:
    return len(answer.body) * OBJECTS_PER_BYTE


def digest(body: bytes) -> str:
    """Return the SHA-256 of an answer."""
    return hashlib.sha256(body).hexdigest()
