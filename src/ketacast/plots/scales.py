"""The scale that effects are drawn on: as fitted, percent, or ratios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.special import expit

from ketacast.arrays import FloatArray, real_array
from ketacast.effects import back_transform
from ketacast.errors import InputError
from ketacast.estimators import BinomialMetaRegression
from ketacast.estimators.base import TRANSFORMS, MetaEstimator, Transform
from ketacast.numerics.records import PlainRecord
from ketacast.options import check_choice

ScaleKind = Literal["effect", "percent", "ratio", "other"]
Transformation = Transform | Callable[[FloatArray], FloatArray] | None
NullLine = float | Literal["auto"] | None

#: Decimals beyond these help no reader.
MOST_DIGITS: Final = 10
_LABELS: Final[dict[ScaleKind, str]] = {
    "effect": "Effect",
    "percent": "Proportion, %",
    "ratio": "Ratio (log scale)",
    "other": "Transformed effect",
}


@dataclass(frozen=True, slots=True)
class Scale(PlainRecord):
    """How effects are drawn and written.

    Attributes
    ----------
    kind : {"effect", "percent", "ratio", "other"}
        As fitted; proportions in percent; ratios on a logarithmic axis; or a
        function of the caller's.
    label : str
        Title of the axis, with the unit.
    null : float or None
        Where the line of no effect is drawn.
    digits : int
        Decimals of printed effects.
    """

    kind: ScaleKind
    label: str
    null: float | None
    digits: int

    def number(self, value: float) -> str:
        """Write an effect."""
        if np.isnan(value):
            return "-"
        if np.isinf(value):
            return "inf" if value > 0.0 else "-inf"
        shown = f"{value:.{self.digits}f}"
        # Rounded to nothing, a small negative number has no sign left.
        return shown.lstrip("-") if float(shown) == 0.0 else shown

    def between(self, lower: float, upper: float) -> str:
        """Write an interval in words."""
        return f"{self.number(lower)} to {self.number(upper)}"

    def bracketed(self, value: float, lower: float, upper: float) -> str:
        """Write an effect with its interval."""
        return f"{self.number(value)} [{self.number(lower)}, {self.number(upper)}]"

    @property
    def unit(self) -> str:
        """What follows a number in a sentence."""
        return " %" if self.kind == "percent" else ""


def scale_of(
    estimator: MetaEstimator,
    transform: Transformation,
    *,
    label: str | None,
    null: NullLine,
    spread: float,
) -> Scale:
    """Choose the axis, its line of no effect and the decimals.

    Parameters
    ----------
    estimator : MetaEstimator
        What is drawn.
    transform : str, callable or None
        See :meth:`ketacast.estimators.base.MetaEstimator.predict_interval`.
    label : str or None
        Title of the axis; what the transform suggests by default.
    null : float, "auto" or None
        Line of no effect on the drawn scale. "auto" is 1 for ratios, 0 for effects as
        fitted unless they are logits of counts, and none elsewhere.
    spread : float
        A typical standard error as drawn, which sets the decimals.

    Raises
    ------
    InputError
        For an unknown transform or an unusable line.
    """
    if transform is None:
        kind: ScaleKind = "effect"
    elif callable(transform):
        kind = "other"
    else:
        check_choice("transform", transform, TRANSFORMS)
        kind = "ratio" if transform == "exp" else "percent"
    if null == "auto":
        logits = isinstance(estimator, BinomialMetaRegression)
        line = {"ratio": 1.0, "effect": None if logits else 0.0}.get(kind)
    else:
        line = None if null is None else float(real_array("null", null, ndim=0))
    default = "Logit" if kind == "effect" and line is None and null == "auto" else _LABELS[kind]
    digits = {"ratio": 2, "percent": 1}.get(kind, decimals(spread))
    return Scale(kind, default if label is None else label, line, digits)


def decimals(spread: float) -> int:
    """Decimals that show two digits of a typical standard error."""
    if not np.isfinite(spread) or spread <= 0.0:
        return 2
    return int(np.clip(1 - np.floor(np.log10(spread)), 0, MOST_DIGITS))


def carry(values: FloatArray, transform: Transformation) -> FloatArray:
    """Carry effects to the scale that is drawn; proportions become percent.

    Parameters
    ----------
    values : ndarray
        Effects as fitted; infinite ones only with a transform that takes them.
    transform : str, callable or None
        The transform.

    Raises
    ------
    InputError
        For a function that does not work element by element or gives no numbers.
    """
    if transform is None:
        return values
    if callable(transform):
        moved = np.asarray(transform(values), dtype=np.float64)
        if moved.shape != values.shape or np.isnan(moved).any():
            raise InputError(
                f"transform turns shape {values.shape} into {moved.shape} with "
                f"{int(np.isnan(moved).sum())} missing values; give an increasing function that "
                "works element by element"
            )
        return moved
    check_choice("transform", transform, TRANSFORMS)
    if transform == "exp":
        return np.exp(values)
    if transform == "PLO" or transform == "logit":  # noqa: PLR1714 - narrows the type
        return np.asarray(100.0 * expit(values), dtype=np.float64)
    return 100.0 * back_transform(values, transform)


def refuse_decreasing(lower: FloatArray, upper: FloatArray, transform: Transformation) -> None:
    """Refuse a transform that swaps the ends of intervals.

    Raises
    ------
    InputError
        If it does.
    """
    if np.any(lower > upper):
        raise InputError(
            f"transform {transform!r} decreases, so that lower limits end above upper ones; give "
            "an increasing function"
        )
