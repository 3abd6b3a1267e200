"""From a caller's values to the JSON of a request; ranges are the service's to judge."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from ketacast.client.exchange import Request
from ketacast.errors import InputError
from ketacast.options import RATERS, check_choice
from ketacast.prediction import Inputs, Prediction


@runtime_checkable
class Profile(Protocol):
    """A clinic as :func:`ketacast.updating.load_clinic` gives it."""

    @property
    def content(self) -> Mapping[str, Any]:
        """The whole profile."""


ClinicGiven: TypeAlias = "str | Mapping[str, Any] | Profile"


@dataclass(frozen=True, slots=True)
class Asked:
    """One patient's question, and by what its answer is known.

    Attributes
    ----------
    request : Request
        What to send.
    inputs : Inputs
        What the answer must repeat.
    levels : tuple of str or None
        The levels it must hold; None where the service chooses.
    clinic : bool
        Whether it must show a clinic.
    """

    request: Request
    inputs: Inputs
    levels: tuple[str, ...] | None
    clinic: bool

    def check(self, prediction: Prediction) -> Prediction:
        """Return the prediction if it answers what was asked.

        Raises
        ------
        InputError
            If inputs, levels or clinic are others.
        """
        if prediction.inputs != self.inputs:
            raise InputError(
                f"it is for {prediction.inputs.to_dict()}, asked was {self.inputs.to_dict()}; "
                "do not use it, and look for a cache or proxy that mixes up answers"
            )
        for estimate in (prediction.response, prediction.remission):
            for found in (estimate.average_clinic, estimate.new_clinic):
                held = tuple(f"{level:g}" for level in found.levels)
                if self.levels is not None and sorted(held) != sorted(self.levels):
                    raise InputError(
                        f"it has the levels {', '.join(held)}, asked was "
                        f"{', '.join(self.levels)}; do not use it"
                    )
        if (prediction.clinic is not None) != self.clinic:
            raise InputError("it shows a clinic, or none, other than asked; do not use it")
        return prediction


def post(path: str, document: Mapping[str, Any]) -> Request:
    """Return a request with a JSON body, which the service records.

    Raises
    ------
    InputError
        If the document holds what JSON cannot, such as NaN.
    """
    try:
        body = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"the request cannot be written as JSON ({error}); give numbers, texts, lists and "
            "dictionaries"
        ) from error
    return Request("POST", path, body=body, records=True)


def ask(
    failed_trials: int | Sequence[int],
    infusions: int,
    rated_by: str,
    *,
    levels: Sequence[float] | None,
    so_far: str,
    clinic: ClinicGiven | None,
) -> Asked:
    """Return the request for one patient.

    Raises
    ------
    InputError
        If a value is of another type than the service takes.
    """
    low, high = _trials(failed_trials)
    number = whole("infusions", infusions)
    check_choice("rated_by", rated_by, RATERS)
    if not isinstance(so_far, str):
        raise InputError(f"so_far is {so_far!r}; give text with a letter per infusion, as 'NNR?'")
    letters = "".join(so_far.split()).upper()
    document: dict[str, Any] = {
        "failed_trials": low if low == high else {"min": low, "max": high},
        "infusions": number,
        "rated_by": rated_by,
    }
    if letters:
        document["so_far"] = letters
    shown: tuple[str, ...] | None = None
    if levels is not None:
        asked = numbers("levels", levels)
        document["levels"] = asked
        shown = tuple(f"{level:g}" for level in sorted(set(asked)))
    if clinic is not None:
        document["clinic"] = _clinic(clinic)
    inputs = Inputs((low, high), number, rated_by, letters)
    return Asked(post("/v1/predictions", document), inputs, shown, clinic is not None)


def whole(name: str, value: object) -> int:
    """Return a whole number; NumPy's are taken, true and false are not.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]  # refused if it has none
        except TypeError:
            pass
    raise InputError(f"{name} is {value!r} ({type(value).__name__}); give a whole number")


def numbers(name: str, values: Sequence[float]) -> list[float]:
    """Return a list of numbers.

    Raises
    ------
    InputError
        If it is no list, or holds something else.
    """
    wanted = InputError(f"{name} is {values!r}; give a list of numbers such as [0.8, 0.95]")
    try:
        given: list[object] = list(values)
    except TypeError:
        raise wanted from None
    if any(isinstance(value, (bool, str)) for value in given):
        raise wanted
    try:
        return [float(value) for value in given]  # type: ignore[arg-type]  # refused if it has none
    except (TypeError, ValueError):
        raise wanted from None


def identifier(name: str, value: object) -> str:
    """Return an identifier of the service in its usual form.

    Raises
    ------
    InputError
        If it is none; it becomes part of an address, so nothing else is sent.
    """
    try:
        return str(UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise InputError(
            f"{name} is {value!r}; give the id that the service gave, such as "
            "'0192f0c4-9c2e-7cc0-8000-000000000000'"
        ) from None


def _trials(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise InputError(
                f"failed_trials is {value!r}; give a number or a pair (lowest, highest)"
            )
        return whole("failed_trials", value[0]), whole("failed_trials", value[1])
    number = whole("failed_trials", value)
    return number, number


def _clinic(given: ClinicGiven) -> dict[str, Any]:
    if isinstance(given, str):
        return {"id": identifier("clinic", given)}
    if isinstance(given, Mapping):
        return {"profile": dict(given)}
    if isinstance(given, Profile):
        return {"profile": dict(given.content)}
    raise InputError(
        f"clinic is {type(given).__name__}; give the id of a stored clinic, or a profile from "
        "ketacast.updating.load_clinic"
    )
