"""Time in response after the course, with and without maintenance.

A Weibull time to loss of response from a handful of small follow-ups
(:mod:`ketacast.numerics.relapse`), and the hazard ratio of maintenance
transported from a randomised withdrawal trial of esketamine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.clinical.durability_parts import (
    DurabilityCurve,
    Maintenance,
    MaintenancePlan,
    Ranges,
    ranges_of,
)
from ketacast.clinical.durability_rows import LostRow
from ketacast.clinical.durability_rules import STRATA, ArmIds, DurabilityPrior, Stratum
from ketacast.clinical.durability_text import (
    REMISSION_REFUSAL,
    interval_assumption,
    limits_of,
    maintenance_study,
)
from ketacast.errors import ArtifactError, InputError
from ketacast.numerics.relapse_draws import RelapseDraws
from ketacast.numerics.relapse_survival import kept_share, mean_time_kept

DAYS_PER_WEEK: Final = 7.0
LEVELS: Final = (0.80, 0.95)
#: Longest follow-up answered, in weeks.
MAX_WEEKS: Final = 104.0
PARAMETERS: Final = ("m", "s", "log_k")
_DRAW_ARRAYS: Final = ("m", "s", "k", "log_scale")


@dataclass(frozen=True, slots=True)
class Durability:
    """Time in response: posterior draws and what they rest on.

    Attributes
    ----------
    horizon_weeks : int
        Default end of curves and means.
    prior : DurabilityPrior
    rows : tuple of LostRow
        The counts.
    mean, sd : tuple of float
        Posterior mean and SD of m, s and log k.
    draws : RelapseDraws
        Equally weighted draws.
    draws_error : float
        Largest distance of their quantiles from the posterior's, in
        probability.
    maintenance : mapping of stratum to Maintenance
    """

    horizon_weeks: int
    prior: DurabilityPrior
    rows: tuple[LostRow, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    draws: RelapseDraws
    draws_error: float
    maintenance: Mapping[Stratum, Maintenance]

    def curve(
        self,
        weeks: Sequence[float] | None = None,
        plan: MaintenancePlan | None = None,
        levels: Sequence[float] = LEVELS,
    ) -> DurabilityCurve:
        """Share of responders still in response.

        Parameters
        ----------
        weeks : sequence of float, optional
            Weeks since the last infusion, 0 to :data:`MAX_WEEKS`; every week
            to the horizon unless given.
        plan : MaintenancePlan, optional
            Maintenance; none unless given.
        levels : sequence of float
            Interval levels in (0, 1).

        Raises
        ------
        InputError
            For weeks or levels out of range.
        """
        chosen = range(self.horizon_weeks + 1) if weeks is None else weeks
        at = _weeks("weeks", list(chosen))
        wanted = _levels(levels)
        ratio = self._log_ratio(plan)
        days = at * DAYS_PER_WEEK
        average = kept_share(days, self.draws.m, self.draws.k, ratio)
        new = kept_share(days, self.draws.log_scale, self.draws.k, ratio)
        share = tuple(ranges_of(average[:, i], new[:, i], wanted) for i in range(at.size))
        return DurabilityCurve(
            weeks=tuple(at.tolist()),
            levels=wanted,
            share=share,
            maintenance=plan.stratum if plan else "",
            studies=self.studies(plan),
            limits=limits_of(self.rows, maintained=plan is not None),
            assumptions=_assumptions(plan),
        )

    def weeks_in_response(
        self,
        horizon_weeks: float | None = None,
        plan: MaintenancePlan | None = None,
        levels: Sequence[float] = LEVELS,
    ) -> Ranges:
        """Mean number of weeks that responders stay in response, up to a horizon.

        Parameters
        ----------
        horizon_weeks : float, optional
            Above 0, to :data:`MAX_WEEKS`; the model's horizon unless given.
        plan : MaintenancePlan, optional
            Maintenance; none unless given.
        levels : sequence of float
            Interval levels in (0, 1).

        Raises
        ------
        InputError
            For a horizon or levels out of range.
        """
        return ranges_of(*self._mean_weeks(horizon_weeks, plan), _levels(levels))

    def weeks_in_remission(
        self,
        remission_share: float | None = None,
        horizon_weeks: float | None = None,
        plan: MaintenancePlan | None = None,
        levels: Sequence[float] = LEVELS,
    ) -> Ranges:
        """Weeks in remission, for a transition that the user supplies.

        Parameters
        ----------
        remission_share : float
            The user's assumption: of those still in response, the share in
            remission, from 0 to 1, the same at every week. No source in the
            evidence gives it; refused without.
        horizon_weeks, plan, levels
            As in :meth:`weeks_in_response`.

        Raises
        ------
        InputError
            Without `remission_share`, and for values out of range.
        """
        if remission_share is None:
            raise InputError(REMISSION_REFUSAL)
        share = real_array("remission_share", remission_share, ndim=0)
        refuse_where("remission_share", share, (share < 0.0) | (share > 1.0), "must be 0 to 1")
        average, new = self._mean_weeks(horizon_weeks, plan)
        return ranges_of(share * average, share * new, _levels(levels))

    def studies(self, plan: MaintenancePlan | None = None) -> tuple[str, ...]:
        """Name the studies behind a curve, with their counts."""
        named = [str(row) for row in self.rows]
        if plan is not None:
            own = self.maintenance[plan.stratum]
            named.append(maintenance_study(plan.stratum, own.lost, own.at_risk, own.ratio))
        return tuple(named)

    def _mean_weeks(
        self, horizon_weeks: float | None, plan: MaintenancePlan | None
    ) -> tuple[FloatArray, FloatArray]:
        weeks = self.horizon_weeks if horizon_weeks is None else horizon_weeks
        horizon = float(_weeks("horizon_weeks", [weeks])[0]) * DAYS_PER_WEEK
        ratio = self._log_ratio(plan)
        average = mean_time_kept(horizon, self.draws.m, self.draws.k, ratio)
        new = mean_time_kept(horizon, self.draws.log_scale, self.draws.k, ratio)
        return average / DAYS_PER_WEEK, new / DAYS_PER_WEEK

    def _log_ratio(self, plan: MaintenancePlan | None) -> FloatArray:
        if plan is None:
            return np.zeros(1)
        multiplier = 1.0 if plan.interval_multiplier is None else plan.interval_multiplier
        return self.maintenance[plan.stratum].log_ratio + float(np.log(multiplier))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws: plain numbers, text, lists and dictionaries."""
        plans: dict[str, MaintenancePlan | None] = {
            "none": None,
            **{stratum: MaintenancePlan(stratum) for stratum in STRATA},
        }
        return {
            "horizon_weeks": self.horizon_weeks,
            "prior": asdict(self.prior),
            "rows": [asdict(row) for row in self.rows],
            "parameters": {
                name: {"mean": mean, "sd": sd}
                for name, mean, sd in zip(PARAMETERS, self.mean, self.sd, strict=True)
            },
            "draws_error": self.draws_error,
            "maintenance": {
                stratum: {
                    "treated": own.ids.treated,
                    "control": own.ids.control,
                    "lost": list(own.lost),
                    "at_risk": list(own.at_risk),
                    "hazard_ratio": list(own.ratio),
                }
                for stratum, own in self.maintenance.items()
            },
            "curves": {name: self.curve(plan=plan).to_dict() for name, plan in plans.items()},
            "weeks_in_response": {
                name: asdict(self.weeks_in_response(plan=plan)) for name, plan in plans.items()
            },
        }

    def arrays(self) -> dict[str, FloatArray]:
        """Return the draws by name, to be stored beside :meth:`to_dict`; shape (n,) each."""
        named = {f"relapse_{name}": getattr(self.draws, name) for name in _DRAW_ARRAYS}
        for stratum, own in self.maintenance.items():
            named[f"relapse_log_ratio_{stratum}"] = own.log_ratio
        return named


def read_durability(content: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Durability:
    """Rebuild from what :meth:`Durability.to_dict` and :meth:`Durability.arrays` gave.

    Parameters
    ----------
    content : mapping
        The stored section.
    arrays : mapping of str to ndarray
        The stored draws, shape (n,) each.

    Raises
    ------
    ArtifactError
        If an entry or array is missing or unusable.
    """
    try:
        stored = {name: arrays[f"relapse_{name}"] for name in _DRAW_ARRAYS}
        maintenance = {
            stratum: Maintenance(
                ids=ArmIds(own["treated"], own["control"]),
                lost=(own["lost"][0], own["lost"][1]),
                at_risk=(own["at_risk"][0], own["at_risk"][1]),
                ratio=(own["hazard_ratio"][0], own["hazard_ratio"][1], own["hazard_ratio"][2]),
                log_ratio=frozen(arrays[f"relapse_log_ratio_{stratum}"]),
            )
            for stratum, own in ((one, content["maintenance"][one]) for one in STRATA)
        }
        parameters = [content["parameters"][name] for name in PARAMETERS]
        found = Durability(
            horizon_weeks=content["horizon_weeks"],
            prior=DurabilityPrior(**content["prior"]),
            rows=tuple(LostRow(**row) for row in content["rows"]),
            mean=tuple(one["mean"] for one in parameters),
            sd=tuple(one["sd"] for one in parameters),
            draws=RelapseDraws(**{name: frozen(array) for name, array in stored.items()}),
            draws_error=content["draws_error"],
            maintenance=maintenance,
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ArtifactError(
            f"the stored durability section lacks or misnames {error}; rebuild with `ketacast fit`"
        ) from error
    shapes = {array.shape for array in found.arrays().values()}
    finite = all(np.isfinite(array).all() for array in found.arrays().values())
    if len(shapes) != 1 or not finite:
        raise ArtifactError(
            f"the stored durability draws have shapes {sorted(shapes)} or values that are not "
            "finite; rebuild with `ketacast fit`"
        )
    return found


def _weeks(name: str, weeks: Sequence[float]) -> FloatArray:
    at = real_array(name, weeks, ndim=1)
    low = 0.0 if name == "weeks" else np.nextafter(0.0, 1.0)
    bad = (at < low) | (at > MAX_WEEKS)
    refuse_where(name, at, bad, f"must be from 0 to {MAX_WEEKS:g} weeks")
    return at


def _levels(levels: Sequence[float]) -> tuple[float, ...]:
    wanted = real_array("levels", list(levels), ndim=1)
    refuse_where("levels", wanted, (wanted <= 0.0) | (wanted >= 1.0), "must lie between 0 and 1")
    return tuple(wanted.tolist())


def _assumptions(plan: MaintenancePlan | None) -> tuple[str, ...]:
    if plan is None or plan.interval_weeks is None or plan.interval_multiplier is None:
        return ()
    return (interval_assumption(plan.interval_weeks, plan.interval_multiplier),)
