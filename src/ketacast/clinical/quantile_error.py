"""How far the stored draws are from the posterior they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from ketacast.clinical.rates import clinic_rates
from ketacast.numerics.hierarchical import EqualDraws
from ketacast.numerics.hierarchical.posterior import even_points, weighted_quantile
from ketacast.options import OUTCOMES

if TYPE_CHECKING:
    from ketacast.clinical.fit import FittedModel

PROBABILITIES: Final = np.array([0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975])
"""The quantiles behind the intervals that the artifact publishes."""

COPIES: Final = 8
"""New clinics per posterior point in the reference: 65,536 in all."""


def max_quantile_error(model: FittedModel) -> float:
    """Largest error of a predictive quantile over the supported grid.

    The reference has every weighted posterior point with eight new clinics each;
    compared are the average-clinic and new-clinic quantiles of both outcomes at
    all supported failed trials and infusions, for both raters.

    Returns
    -------
    float
        On the probability scale.
    """
    posterior = model.posterior
    size = posterior.weight.size
    points = even_points(size * COPIES, 4)
    points = points[np.argsort(points[:, 0], kind="stable")]
    order = np.argsort(posterior.beta[:, 0], kind="stable")
    spread = np.repeat(order, COPIES)
    reference = EqualDraws(
        posterior.beta[spread], posterior.tau[spread], special.ndtri(points[:, 1:])
    )
    weight = posterior.weight[spread] / COPIES
    low, high = model.recipe.support.failed_trials
    last = min(model.recipe.support.infusions[1], model.recipe.data.plateau_infusions)
    worst = 0.0
    for failed in sorted({low, (low + high) // 2, high}):
        for infusions in sorted({1, 2, 4, 6, last}):
            for rater in ("self", "clinician"):
                for new_clinic in (False, True):
                    inputs = (model.coding, failed, infusions, rater)
                    exact = clinic_rates(reference, *inputs, new_clinic=new_clinic)
                    kept = clinic_rates(model.draws, *inputs, new_clinic=new_clinic)
                    for outcome in OUTCOMES:
                        truth = weighted_quantile(
                            getattr(exact, outcome)[:, None], weight, PROBABILITIES
                        )[:, 0]
                        found = np.quantile(getattr(kept, outcome), PROBABILITIES)
                        worst = max(worst, float(np.abs(truth - found).max()))
    return worst
