"""Cost-effectiveness from the user's costs, draw by draw.

References
----------
Stinnett and Mullahy 1998, Med Decis Making 18:S68 (net benefit); Fenwick, Claxton and
Sculpher 2001, Health Econ 10:779 (acceptability curve; the strategy with the highest
expected net benefit need not be the one most often best).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
            for level in sorted(spec.levels):
                low, high = np.quantile(benefit[:, s], [(1 - level) / 2, (1 + level) / 2])
                percent = f"{100 * level:g}".replace(".", "_")
                row |= {f"low_{percent}": low, f"high_{percent}": high}
            row |= {"probability_best": probability[s], "highest_mean": bool(mean[s] == mean.max())}
            rows.append(row)
    return pd.DataFrame(rows)


def incremental(result: SimulationResult) -> pd.DataFrame:
    """Extra cost and effect over the first strategy, and their ratio.

    Returns
    -------
    DataFrame
        Strategy; mean ``cost`` and ``effect`` more than the first strategy's; ``ratio`` of
        these means, none where the effect is not larger or the cost not higher.

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
        cost = float((result.at(name, "cost") - result.at(base, "cost")).mean())
        effect = float((result.at(name, name_of) - result.at(base, name_of)).mean())
        ratio = cost / effect if effect > 0.0 and cost > 0.0 else None
        rows.append({"strategy": name, "reference": base, "cost": cost, "effect": effect,
                     "effect_name": name_of, "ratio": ratio})  # fmt: skip
    return pd.DataFrame(rows)
