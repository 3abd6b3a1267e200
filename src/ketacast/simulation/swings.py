"""What drives the uncertainty of an outcome: each parameter's part, for a tornado plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.clinical.artifact import load_artifact
from ketacast.errors import ArtifactError, InputError
from ketacast.simulation.parameters import Source, open_source, spread_rows
from ketacast.simulation.profiles import check_located
from ketacast.simulation.results import SimulationResult

if TYPE_CHECKING:
    import pandas as pd

FEWEST_DRAWS: Final = 50
FIFTH: Final = 0.2

_COEFFICIENTS: Final = (
    "response: level", "response: infusions", "response: rater", "response: failed trials",
    "remission: level", "remission: infusions", "remission: rater", "remission: failed trials",
)  # fmt: skip
_RATIO: Final = "maintenance: hazard ratio of"
_EFFECTS: Final = ("clinic: response", "clinic: remission", "clinic: infusions")


def drivers(
    result: SimulationResult,
    outcome: str = "weeks_in_response",
    strategy: str | None = None,
    reference: str | None = None,
    model: Path | str | None = None,
) -> pd.DataFrame:
    """Mean outcome where a parameter is low, and where it is high.

    Parameters
    ----------
    result : SimulationResult
        Of 50 draws at least.
    outcome : str
        At the horizon.
    strategy : str, optional
        The last one by default.
    reference : str, optional
        If given, the difference from this strategy.
    model : path, optional
        Directory of the model that the result comes from.

    Returns
    -------
    DataFrame
        Parameter (hazard ratios only where there is maintenance); mean outcome in the
        fifth of draws where it is lowest (``low``) and in that where it is highest
        (``high``); ``swing``, their difference; sorted by its size. Parameters vary
        together where the evidence ties them, so that swings do not add up.

    Raises
    ------
    InputError
        For fewer draws, or an unknown outcome or strategy.
    ArtifactError
        If the model is another one.
    """
    import pandas as pd  # noqa: PLC0415

    if result.specification.draws < FEWEST_DRAWS:
        raise InputError(
            f"the result has {result.specification.draws} draws; give at least {FEWEST_DRAWS}"
        )
    values = result.at(strategy or result.strategies[-1], outcome)
    if reference is not None:
        values = values - result.at(reference, outcome)
    artifact = load_artifact(model)
    if artifact.sha256 != result.model["sha256"]:
        raise ArtifactError(
            f"the result comes from the model {result.model['sha256'][:12]}..., the model given "
            f"is {artifact.sha256[:12]}...; name its directory"
        )
    check_located(result.specification, result.clinics, None)
    size = max(1, round(FIFTH * values.size))
    rows = []
    compared = {strategy or result.strategies[-1], reference}
    kept_up = any(
        one.maintenance for one in result.specification.strategies if one.name in compared
    )
    for name, parameter in _parameters(open_source(artifact, result.specification)).items():
        if np.ptp(parameter) == 0.0 or (name.startswith(_RATIO) and not kept_up):
            continue
        order = np.argsort(parameter, kind="stable")
        low, high = values[order[:size]].mean(), values[order[-size:]].mean()
        rows.append({"parameter": name, "low": low, "high": high, "swing": high - low})
    frame = pd.DataFrame(rows)
    return frame.loc[frame["swing"].abs().sort_values(ascending=False, kind="stable").index]


def _parameters(source: Source) -> dict[str, FloatArray]:
    """Parameters of each draw; of clinics, the mean over them."""
    which = np.arange(source.count)
    given = source.parameters(which.tolist())
    first = source.clinics[0]
    rows = spread_rows(which, source.count, first.draws.beta.shape[0])
    found = {name: first.draws.beta[rows, i] for i, name in enumerate(_COEFFICIENTS)}
    for i, name in enumerate(_EFFECTS):
        each = []
        for clinic in source.clinics:
            own = spread_rows(which, source.count, clinic.draws.beta.shape[0])
            effect = clinic.draws.tau[own, i] * clinic.draws.scores[own, i]
            each.append(effect if clinic.new_clinic else np.zeros_like(effect))
        found[name] = np.mean(each, axis=0)
    found["how statuses go together (w)"] = given.propensity.mean(axis=1)
    found["time in response: scale"] = given.log_scale.mean(axis=1)
    found["time in response: shape"] = given.shape
    for stratum, ratio in given.log_ratio.items():
        found[f"{_RATIO} {stratum}"] = ratio
    return found
