"""Results of a simulation: outcomes by draw, and tidy tables of them.

Two kinds of uncertainty are kept apart. Over draws of the model, outcomes differ because
the evidence leaves parameters open. Within a draw, a simulated cohort differs from
another of the same size by chance; the two halves of the cohort tell by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.errors import InputError, MissingDependencyError
from ketacast.options import check_choice
from ketacast.simulation.assumptions import Basis, Support, basis_of
from ketacast.simulation.engines import Plan
from ketacast.simulation.outcomes import BETTER_LOW, NEUTRAL, outcome_names
from ketacast.simulation.specification import Specification
from ketacast.version import __version__

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Outcomes per patient, by draw, strategy and week.

    Attributes
    ----------
    specification : Specification
    model : mapping
        Name, version and sha256 of the model.
    clinics : mapping of path to sha256
        Clinic profiles that were used.
    class_error : float
        Largest error of a share of patients from the finite number of propensity classes,
        on average over draws; 0 for the exact engine.
    values : (D, B, S, H + 1, O) float array
        ``B``: 1, or the two halves of the simulated cohort.
    code : str
        Version of ketacast.
    support : Support, optional
        What the model's evidence supports.
    """

    specification: Specification
    model: Mapping[str, str]
    clinics: Mapping[str, str]
    class_error: float
    values: FloatArray
    code: str = __version__
    support: Support | None = None

    @classmethod
    def make(cls, plan: Plan, values: FloatArray, class_error: float) -> SimulationResult:
        """Bundle the outcomes of a plan."""
        artifact = plan.source.artifact
        return cls(
            specification=plan.specification,
            model={
                "name": artifact.name,
                "version": artifact.version,
                "sha256": artifact.sha256,
            },
            clinics={one.name: one.sha256 for one in plan.source.clinics if one.sha256},
            class_error=class_error,
            values=values,
            support=Support.of(artifact),
        )

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return tuple(strategy.name for strategy in self.specification.strategies)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the outcomes."""
        return outcome_names(self.specification)

    @property
    def basis(self) -> Basis:
        """What the result rests on beside the evidence."""
        return basis_of(self.specification, self.support)

    @property
    def by_draw(self) -> FloatArray:
        """Outcomes of the whole cohort, (D, S, H + 1, O)."""
        return _whole(self.values, self.specification.patients)

    def at(self, strategy: str, outcome: str, week: int | None = None) -> FloatArray:
        """Draws of one outcome at a week (the horizon by default), (D,).

        Raises
        ------
        InputError
            For a strategy, outcome or week that the result does not have.
        """
        check_choice("strategy", strategy, self.strategies)
        check_choice("outcome", outcome, self.outcomes)
        last = self.specification.horizon_weeks
        at = last if week is None else week
        if not 0 <= at <= last:
            raise InputError(f"week is {week!r}; give a whole number from 0 to {last}")
        place = (self.strategies.index(strategy), at, self.outcomes.index(outcome))
        return _whole(self.values[:, :, *place], self.specification.patients)

    def summary(self) -> pd.DataFrame:
        """Outcomes by strategy and week.

        Returns
        -------
        DataFrame
            Columns strategy, week, outcome; ``mean`` and ``median`` over draws, ``low_80``
            and ``high_80`` (and further levels); ``parameter_sd``, over draws, without the
            part of chance (none with a single draw); ``chance_sd``, of one cohort of this
            size in one draw; ``mc_error``, standard error of the mean from simulating.
        """
        values, chance = self.by_draw, _chance(self.values, self.specification.patients)
        names = [*np.ndindex(*values.shape[1:])]
        frame = _tidy(self.strategies, self.outcomes, names)
        return frame.assign(**_described(values, chance, self.specification.levels))

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Other strategies minus a reference (the first by default), patient by patient.

        Returns
        -------
        DataFrame
            As :meth:`summary`, with ``reference``, and ``probability_better``: share of
            draws in which the strategy is the better one in this outcome (ties count half;
            fewer infusions, relapses and costs are better); none where neither is.
        """
        base = self.strategies[0] if reference is None else reference
        check_choice("reference", base, self.strategies)
        place = self.strategies.index(base)
        others = [s for s in range(len(self.strategies)) if s != place]
        apart = self.values[:, :, others] - self.values[:, :, [place]]
        values = _whole(apart, self.specification.patients)
        chance = _chance(apart, self.specification.patients)
        frame = _tidy(
            [self.strategies[s] for s in others], self.outcomes, [*np.ndindex(*values.shape[1:])]
        )
        frame.insert(1, "reference", base)
        frame = frame.assign(**_described(values, chance, self.specification.levels))
        sign = np.array([-1.0 if name in BETTER_LOW else 1.0 for name in self.outcomes])
        favour = values * sign
        better = (favour > 0.0).mean(axis=0) + 0.5 * (favour == 0.0).mean(axis=0)
        better[..., [name in NEUTRAL for name in self.outcomes]] = np.nan
        return frame.assign(probability_better=better.ravel())

    def infusions_per_response_week(self) -> pd.DataFrame:
        """Infusions given for each week in response, to the horizon.

        Returns
        -------
        DataFrame
            Strategy; ``ratio`` of the two means; ``median`` and ranges of the ratio over
            draws; ``extra``: infusions for each week more than with the first strategy,
            the ratio of the mean differences, none where no week is won.
        """
        import pandas as pd  # noqa: PLC0415

        first, rows = self.strategies[0], []
        base = [self.at(first, name).mean() for name in ("infusions", "weeks_in_response")]
        for name in self.strategies:
            given, weeks = self.at(name, "infusions"), self.at(name, "weeks_in_response")
            each = given / np.where(weeks > 0.0, weeks, np.nan)
            won = weeks.mean() - base[1]
            row = {"strategy": name, "ratio": given.mean() / weeks.mean() if weeks.any() else None}
            row |= {"median": float(np.nanmedian(each)) if weeks.any() else None}
            for level in self.specification.levels:
                for side, share in (("low", (1 - level) / 2), ("high", (1 + level) / 2)):
                    known = float(np.nanquantile(each, share)) if weeks.any() else None
                    row[f"{side}_{_percent(level)}"] = known
            row["extra"] = (given.mean() - base[0]) / won if won > 0.0 else None
            rows.append(row)
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """Return :meth:`summary`."""
        return self.summary()

    def to_polars(self) -> Any:
        """Return :meth:`summary` as a Polars DataFrame."""
        try:
            import polars as pl  # noqa: PLC0415
        except ImportError as error:
            raise MissingDependencyError("to_polars needs Polars: pip install polars") from error
        return pl.DataFrame(self.summary().to_dict("list"))

    def __str__(self) -> str:
        from ketacast.simulation.text import result_text  # noqa: PLC0415

        return result_text(self)


def _whole(values: FloatArray, patients: int) -> FloatArray:
    """Mean over the halves, by their patients; (D, B, ...) to (D, ...)."""
    if values.shape[1] == 1:
        return values[:, 0]
    first = patients // 2
    whole: FloatArray = (first * values[:, 0] + (patients - first) * values[:, 1]) / patients
    return whole


def _chance(values: FloatArray, patients: int) -> FloatArray:
    """Mean over draws of the variance that chance gives the whole cohort.

    The halves' means have variances v / n1 and v / n2, the cohort's v / (n1 + n2).
    """
    if values.shape[1] == 1:
        return np.zeros(values.shape[2:])
    first = patients // 2
    weight = first * (patients - first) / patients**2
    squares: FloatArray = weight * (values[:, 0] - values[:, 1]) ** 2
    mean: FloatArray = squares.mean(axis=0)
    return mean


def _tidy(
    strategies: tuple[str, ...] | list[str], outcomes: tuple[str, ...], places: list[Any]
) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    strategy, week, outcome = np.array(places, np.int64).reshape(-1, 3).T
    return pd.DataFrame(
        {
            "strategy": np.array(strategies, object)[strategy],
            "week": week,
            "outcome": np.array(outcomes, object)[outcome],
        }
    )


def _described(
    values: FloatArray, chance: FloatArray, levels: tuple[float, ...]
) -> dict[str, NDArray[Any]]:
    """Columns of a table from draws (D, S, W, O) and the variance of chance (S, W, O)."""
    draws = values.shape[0]
    spread = values.var(axis=0, ddof=1) if draws > 1 else np.full(values.shape[1:], np.nan)
    columns = {"mean": values.mean(axis=0), "median": np.median(values, axis=0)}
    for level in sorted(levels):
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
        columns |= {f"low_{_percent(level)}": low, f"high_{_percent(level)}": high}
    columns["parameter_sd"] = np.sqrt(np.maximum(spread - chance, 0.0))
    columns["chance_sd"] = np.sqrt(chance)
    columns["mc_error"] = np.sqrt(chance / draws)
    return {name: column.ravel() for name, column in columns.items()}


def _percent(level: float) -> str:
    return f"{100 * level:g}".replace(".", "_")
