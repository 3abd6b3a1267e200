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

MOST_ANSWERS: Final = 8_192
"""Some 4 kB each: 32 MB at most. All point inputs at the default levels are 1,890."""


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
    """The answers asked for last; the same inputs to the same model give the same bytes."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._most = most

    def find(self, key: Hashable) -> Answer | None:
        """Return the answer kept for a key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer, forgetting the one not asked for longest."""
        self._kept[key] = answer
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


def digest(body: bytes) -> str:
    """Return the SHA-256 of an answer."""
    return hashlib.sha256(body).hexdigest()
