"""Result of the synthesis: one row per analysis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ketacast.clinical.synthesis_data import PublishedValue

Scale = Literal["probability", "standardised mean change", "log odds ratio"]
Method = Literal["REML, Knapp-Hartung", "binomial-normal ML, t"]

METHODS: Final[tuple[Method, ...]] = ("REML, Knapp-Hartung", "binomial-normal ML, t")


@dataclass(frozen=True, slots=True)
class SynthesisRow:
    """One analysis beside the anchor's figure.

    Attributes
    ----------
    analysis : str
        What was pooled or regressed, for example "response" or "response by infusions".
    group : str
        Which rows, or which moderator coding, or which assumption.
    method : str
        One of :data:`METHODS`.
    scale : str
        What `estimate` is: a probability (of the median clinic), a
        standardised mean change (improvement positive), or a log odds ratio
        per unit of the moderator.
    k, n : int
        Cohorts and patients.
    estimate : float or None
        None where the analysis is refused or failed.
    ci : tuple of float or None
        95 % confidence interval.
    pi80, pi95 : tuple of float or None
        Prediction intervals of a new clinic's true value; None for slopes.
    tau2, i2 : float or None
        Between-cohort variance (logit or standardised scale) and I2, percent.
    p_value : float or None
        Of a slope; None for pooled values.
    published : PublishedValue or None
        The anchor's figure.
    notes : tuple of str
        What the reader must know.
    refused : str
        Why there is no estimate; empty otherwise.
    """

    analysis: str
    group: str
    method: Method
    scale: Scale
    k: int
    n: int
    estimate: float | None = None
    ci: tuple[float, float] | None = None
    pi80: tuple[float, float] | None = None
    pi95: tuple[float, float] | None = None
    tau2: float | None = None
    i2: float | None = None
    p_value: float | None = None
    published: PublishedValue | None = None
    notes: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """All analyses, and what holds for all of them.

    Attributes
    ----------
    rows : tuple of SynthesisRow
        In reading order.
    anchor : str
        Source of the published figures.
    anchor_k, anchor_n : int or None
        Studies and patients of the whole anchor review.
    evidence_sha256 : str
        Hash of the evidence used.
    notes : tuple of str
        What holds for every row.
    """

    rows: tuple[SynthesisRow, ...]
    anchor: str
    anchor_k: int | None
    anchor_n: int | None
    evidence_sha256: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries."""
        content = asdict(self)
        plain: dict[str, Any] = _plain(content)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
