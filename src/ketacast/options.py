"""Names of the options that callers may choose from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from ketacast.errors import InputError

Outcome = Literal["response", "remission"]
Rater = Literal["self", "clinician", "unknown"]
EffectMeasure = Literal["PLO", "PFT", "PAS", "PR", "SMD", "SMCC", "SMCR"]
ContinuityRule = Literal["only0", "all", "if0all", "none"]

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
RATERS: Final[tuple[Rater, ...]] = get_args(Rater)
EFFECT_MEASURES: Final[tuple[EffectMeasure, ...]] = get_args(EffectMeasure)
CONTINUITY_RULES: Final[tuple[ContinuityRule, ...]] = get_args(ContinuityRule)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of the choices.

    Parameters
    ----------
    name : str
        The option's name, for the message.
    value : object
        What the caller gave.
    choices : iterable of str
        The allowed values.

    Raises
    ------
    InputError
        If `value` is not among `choices`.
    """
    allowed = tuple(choices)
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(repr(choice) for choice in allowed)
        raise InputError(f"{name} is {value!r}; choose one of {listed}")
