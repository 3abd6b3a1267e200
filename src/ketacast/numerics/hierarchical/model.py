"""The sequential-outcomes model as arrays: rows, families, priors.

A *row* is one observed count. Its kind says which probability it informs:

========================  =======================================
kind                      likelihood
========================  =======================================
``RESPONSE``              ``count ~ Binomial(total, p)``
``REMISSION_IF_RESPONSE`` ``count ~ Binomial(total, q)``
``REMISSION``             ``count ~ Binomial(total, p q)``
========================  =======================================

with ``logit p = x_response . beta + u + slope * ub`` and
``logit q = x_remission . beta + v``. The effects of a *family* (studies that
share patients) are ``u ~ N(0, tau_R^2)``, ``ub ~ N(0, tau_b^2)`` and
``v ~ N(0, tau_M^2)``; internally each is ``tau`` times a standard-normal score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import InputError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

RESPONSE: Final = 0
REMISSION_IF_RESPONSE: Final = 1
REMISSION: Final = 2

N_EFFECTS: Final = 3
"""Effects of one family, in the order tau_R (u), tau_M (v), tau_b (ub)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Counts and covariates, R rows, p coefficients.

    Attributes
    ----------
    kind : (R,) int array
        ``RESPONSE``, ``REMISSION_IF_RESPONSE`` or ``REMISSION``.
    count, total : (R,) float arrays
        Events and their denominator, ``0 <= count <= total``.
    x_response, x_remission : (R, p) float arrays
        Covariates of ``logit p`` and of ``logit q``.
    slope : (R,) float array
        Covariate of the family's random slope ``ub``.
    family : (R,) int array
        Family of the row, 0, 1, ... in ascending order without gaps.
    """

    kind: Int
    count: Float
    total: Float
    x_response: Float
    x_remission: Float
    slope: Float
    family: Int

    @property
    def n_families(self) -> int:
        """Number of families (0 without rows)."""
        return int(self.family.max()) + 1 if self.family.size else 0

    @property
    def n_coefficients(self) -> int:
        """Number of fixed coefficients p."""
        return int(self.x_response.shape[1])


@dataclass(frozen=True, slots=True)
class Priors:
    """Gaussian prior of the coefficients, half-normal priors of the taus.

    Attributes
    ----------
    mean : (p,) float array
        Prior mean of the coefficients.
    precision : (p, p) float array
        Prior precision; contrast evidence enters here, because a Gaussian
        observation of a linear combination is one more Gaussian prior.
    tau_scale : (3,) float array
        Scales of the half-normal priors of tau_R, tau_M and tau_b. A scale of
        0 leaves that effect out of the model.
    """

    mean: Float
    precision: Float
    tau_scale: Float


def add_contrasts(
    mean: Float, precision: Float, vectors: Float, estimates: Float, variances: Float
) -> tuple[Float, Float]:
    """Add Gaussian observations ``estimate ~ N(vector . beta, variance)`` to a prior.

    Parameters
    ----------
    mean, precision : (p,) and (p, p) float arrays
        Gaussian prior before the observations.
    vectors : (m, p) float array
        Linear combination that each observation estimates.
    estimates, variances : (m,) float arrays
        Observed values and their variances (> 0).

    Returns
    -------
    mean, precision : (p,) and (p, p) float arrays
        The prior with the observations (conjugate normal update).
    """
    weighted = vectors.T / variances
    updated = precision + weighted @ vectors
    shift = precision @ mean + weighted @ estimates
    return np.asarray(np.linalg.solve(updated, shift), dtype=np.float64), updated


def check_model(rows: Rows, priors: Priors) -> None:
    """Refuse arrays that do not describe a model.

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, a count lies outside
        ``[0, total]``, families are not numbered ``0..C-1``, the prior precision is
        not positive definite or a scale is negative.
    """
    n, p = rows.x_response.shape
    shapes = {
        "kind": rows.kind.shape == (n,),
        "count": rows.count.shape == (n,),
        "total": rows.total.shape == (n,),
        "x_remission": rows.x_remission.shape == (n, p),
        "slope": rows.slope.shape == (n,),
        "family": rows.family.shape == (n,),
        "prior mean": priors.mean.shape == (p,),
        "prior precision": priors.precision.shape == (p, p),
        "tau_scale": priors.tau_scale.shape == (N_EFFECTS,),
    }
    wrong = [name for name, fits in shapes.items() if not fits]
    if wrong:
        raise InputError(f"{', '.join(wrong)}: shape does not match {n} rows, {p} coefficients")
    for name in ("count", "total", "x_response", "x_remission", "slope"):
        if not np.isfinite(getattr(rows, name)).all():
            raise InputError(f"{name} has a value that is not finite; remove or complete the row")
    if np.any(rows.count < 0) or np.any(rows.count > rows.total):
        worst = int(np.argmax((rows.count < 0) | (rows.count > rows.total)))
        raise InputError(
            f"row {worst}: count {rows.count[worst]:g} is not within 0..{rows.total[worst]:g}"
        )
    if not np.isin(rows.kind, (RESPONSE, REMISSION_IF_RESPONSE, REMISSION)).all():
        raise InputError(f"kind {sorted(set(rows.kind.tolist()))}: only 0, 1 and 2 are known")
    if n == 0 or rows.family[0] != 0 or not np.isin(np.diff(rows.family), (0, 1)).all():
        raise InputError("rows must be sorted by family, numbered 0, 1, ... without gaps")
    if np.any(priors.tau_scale < 0) or not np.isfinite(priors.tau_scale).all():
        raise InputError(f"tau_scale {priors.tau_scale.tolist()}: scales must be 0 or more")
    if not np.isfinite(priors.mean).all() or not np.isfinite(priors.precision).all():
        raise InputError("the prior of the coefficients has a value that is not finite")
    if np.linalg.eigvalsh(priors.precision)[0] <= 0:
        raise InputError("the prior precision must be positive definite; give every term an SD > 0")
