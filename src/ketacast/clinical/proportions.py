"""Shares of patients with exact bounds; needs no more than the quantiles of beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ketacast.errors import InputError

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with exact binomial (Clopper-Pearson) 95 % bounds."""

    level: float
    count: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """``count / total``."""
        return self.count / self.total


def proportion(level: float, count: int, total: int) -> Proportion:
    """Count a share and bound it exactly.

    Parameters
    ----------
    level : float
        Nominal level the share is compared with.
    count, total : int
        ``0 <= count <= total``, total at least 1.

    Returns
    -------
    Proportion

    Raises
    ------
    InputError
        If the counts are not such.

    Notes
    -----
    Clopper and Pearson (1934), Biometrika 26:404-413, by beta quantiles.
    """
    if not 0 <= count <= total or total < 1:
        raise InputError(f"{count} of {total} is not a share; give 0 <= count <= total, total >= 1")
    from scipy.special import betainccinv, betaincinv  # noqa: PLC0415  # seldom

    tail = (1.0 - CONFIDENCE) / 2.0
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betainccinv(count + 1, total - count, tail))
    return Proportion(level, count, total, low, high)
