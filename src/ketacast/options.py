"""Names of the options that callers may choose from."""

from __future__ import annotations

import reprlib
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


class _Short(reprlib.Repr):
    """What a message shows of a value: enough to find it, whatever its size or depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002  # the signature of reprlib
        """Python refuses to write whole numbers of more than 4,300 digits."""
        return repr(x) if x.bit_length() <= _SHOWN_BITS else f"a number of {x.bit_length()} bits"


_SHOWN_BITS: Final = 200
_SHORT: Final = _Short()


def shown(value: object) -> str:
    """Write a value as a message shows it, like ``repr``, shortened where it is long or deep."""
    return _SHORT.repr(value)


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
        raise InputError(f"{name} is {shown(value)}; choose one of {listed}")
