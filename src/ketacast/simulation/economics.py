"""Cost-effectiveness from the user's costs, draw by draw.

References
----------
Stinnett and Mullahy 1998, Med Decis Making 18:S68 (net benefit); Fenwick, Claxton and
Sculpher 2001, Health Econ 10:779 (acceptability curve; the strategy with the highest
expected net benefit need not be the one most often best).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.errors import InputError
from ketacast.simulation.results import SimulationResult

if TYPE_CHECKING:
    import pandas as pd


def effect_of(result: SimulationResult) -> str:
    """Name the effect that thresholds pay for: QALYs with utilities, else weeks in response."""
    return "qalys" if result.specification.utilities is not None else "weeks_in_response"


def net_benefit(result: SimulationResult) -> pd.DataFrame:
    """Net benefit and acceptability at the user's thresholds.

    Returns
    -------
    DataFrame
        For each threshold and strategy: mean net benefit with ranges over draws,
        ``probability_best`` (ties shared) and whether it has the highest mean.

    Raises
    ------
    InputError
        Without costs or thresholds.
    """
    import pandas as pd  # noqa: PLC0415

    spec = result.specification
    if spec.costs is None or not spec.willingness_to_pay:
        raise InputError(
            "cost-effectiveness needs [costs] and [assumptions] willingness_to_pay; both are yours "
            "to give"
        )
    effect = np.stack([result.at(name, effect_of(result)) for name in result.strategies], axis=1)
    cost = np.stack([result.at(name, "cost") for name in result.strategies], axis=1)
    rows = []
    for threshold in sorted(set(spec.willingness_to_pay)):
        benefit = threshold * effect - cost  # (D, S)
        best = benefit == benefit.max(axis=1, keepdims=True)
        probability = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        mean = benefit.mean(axis=0)
        for s, name in enumerate(result.strategies):
            row = {"threshold": float(threshold), "strategy": name, "net_benefit": mean[s]}
            row |= _ranges("", benefit[:, s], spec.levels)
            row |= {"probability_best": probability[s], "highest_mean": bool(mean[s] == mean.max())}
            rows.append(row)
    return pd.DataFrame(rows)


def incremental(result: SimulationResult) -> pd.DataFrame:
    """Extra cost and effect over the first strategy, and their ratio.

    Returns
    -------
    DataFrame
        Strategy; mean ``cost`` and ``effect`` more than the first strategy's, each with its
        ranges over draws (``cost_low_80``, ...); ``ratio`` of these means, none where the
        effect is not larger or the cost not higher. A ratio of differences near 0 has no
        useful range; :func:`net_benefit` tells how sure it is.

    Raises
    ------
    InputError
        Without costs.
    """
    import pandas as pd  # noqa: PLC0415

    if result.specification.costs is None:
        raise InputError("an incremental ratio needs [costs]; they are yours to give")
    base, name_of = result.strategies[0], effect_of(result)
    rows = []
    for name in result.strategies[1:]:
        cost = result.at(name, "cost") - result.at(base, "cost")
        effect = result.at(name, name_of) - result.at(base, name_of)
        mean_cost, mean_effect = float(cost.mean()), float(effect.mean())
        ratio = mean_cost / mean_effect if mean_effect > 0.0 and mean_cost > 0.0 else None
        row = {"strategy": name, "reference": base, "cost": mean_cost, "effect": mean_effect,
               "effect_name": name_of, "ratio": ratio}  # fmt: skip
        row |= _ranges("cost_", cost, result.specification.levels)
        row |= _ranges("effect_", effect, result.specification.levels)
        rows.append(row)
    return pd.DataFrame(rows)


def _ranges(prefix: str, draws: FloatArray, levels: Sequence[float]) -> dict[str, float]:
    """Columns ``low_80`` and ``high_80``, ... of some draws, with a prefix."""
    found: dict[str, float] = {}
    for level in sorted(levels):
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        percent = f"{100 * level:g}".replace(".", "_")
        found |= {f"{prefix}low_{percent}": float(low), f"{prefix}high_{percent}": float(high)}
    return found
