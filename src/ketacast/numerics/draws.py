"""Equally weighted posterior draws, apart from the machinery that makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EqualDraws:
    """Equally weighted joint draws, with scores for one new family each.

    Attributes
    ----------
    beta : (n, p) float array
        Coefficients.
    tau : (n, 3) float array
        tau_R, tau_M, tau_b.
    scores : (n, 3) float array
        Standard-normal scores: a new family's effects are ``tau * scores``.
    """

    beta: Float
    tau: Float
    scores: Float
