"""The recipe's section ``[durability]``: which relapse rows, priors and variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ketacast.clinical.recipe_checks import only, text
from ketacast.errors import RecipeError

Stratum = Literal["responders", "remitters"]
STRATA: Final[tuple[Stratum, ...]] = get_args(Stratum)


@dataclass(frozen=True, slots=True)
class DurabilityPrior:
    """Priors of the Weibull model.

    ``m ~ N(log scale_days, log_scale_sd^2)``, ``s ~ half-normal(spread)``,
    ``log k ~ N(0, log_shape_sd^2)``.
    """

    scale_days: float
    log_scale_sd: float
    spread: float
    log_shape_sd: float


@dataclass(frozen=True, slots=True)
class ArmIds:
    """Rows of ``relapse.csv`` with the arms behind a hazard ratio."""

    treated: str
    control: str


@dataclass(frozen=True, slots=True)
class DurabilityVariant:
    """A sensitivity analysis: rows added and dropped, another prior.

    Attributes
    ----------
    name, title : str
        Short name and what it changes.
    add, drop : tuple of str
        Row ids.
    assumed_n : mapping of str to int
        Patients assumed behind rows that print none; they cannot enter without.
    prior : DurabilityPrior
        Priors of this analysis.
    """

    name: str
    title: str
    add: tuple[str, ...]
    drop: tuple[str, ...]
    assumed_n: Mapping[str, int]
    prior: DurabilityPrior


@dataclass(frozen=True, slots=True)
class DurabilityRules:
    """The recipe's section ``[durability]``."""

    horizon_weeks: int
    rows: tuple[str, ...]
    prior: DurabilityPrior
    maintenance: Mapping[Stratum, ArmIds]
    sensitivity: tuple[DurabilityVariant, ...]


def parse_durability(table: Mapping[str, Any]) -> DurabilityRules:
    """Read the recipe's section ``[durability]``.

    Parameters
    ----------
    table : mapping
        The section as TOML gives it.

    Raises
    ------
    RecipeError
        If an entry is missing, unknown or out of range.
    """
    only(table, "durability", {"horizon_weeks", "rows", "prior", "maintenance", "sensitivity"})
    horizon = table.get("horizon_weeks")
    if type(horizon) is not int or not 1 <= horizon <= 104:
        raise RecipeError(
            f"[durability] horizon_weeks is {horizon!r}; give a whole number, 1 to 104"
        )
    prior_table = _mapping(table, "durability", "prior")
    maintenance = _mapping(table, "durability", "maintenance")
    only(maintenance, "durability.maintenance", set(STRATA))
    variants = table.get("sensitivity", [])
    if not isinstance(variants, list) or not all(isinstance(one, Mapping) for one in variants):
        raise RecipeError("[durability] sensitivity: head each with [[durability.sensitivity]]")
    return DurabilityRules(
        horizon_weeks=horizon,
        rows=_names(table, "durability", "rows"),
        prior=_prior(prior_table, "durability.prior"),
        maintenance={
            stratum: _arms(_mapping(maintenance, "durability.maintenance", stratum), stratum)
            for stratum in STRATA
        },
        sensitivity=tuple(
            _variant(one, prior_table, f"durability.sensitivity[{i}]")
            for i, one in enumerate(variants)
        ),
    )


def _prior(table: Mapping[str, Any], where: str) -> DurabilityPrior:
    names = DurabilityPrior.__slots__
    only(table, where, set(names))
    values = {}
    for name in names:
        value = table.get(name)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not 0.0 < float(value) <= 3650.0:  # type: ignore[arg-type]
            raise RecipeError(f"[{where}] {name} is {value!r}; give a number above 0")
        values[name] = float(value)  # type: ignore[arg-type]
    return DurabilityPrior(**values)


def _arms(table: Mapping[str, Any], stratum: str) -> ArmIds:
    where = f"durability.maintenance.{stratum}"
    only(table, where, {"treated", "control"})
    return ArmIds(text(table, where, "treated"), text(table, where, "control"))


def _variant(table: Mapping[str, Any], prior: Mapping[str, Any], where: str) -> DurabilityVariant:
    only(table, where, {"name", "title", "add", "drop", "assumed_n", "prior"})
    sizes = table.get("assumed_n", {})
    good = isinstance(sizes, Mapping) and all(type(n) is int and n > 0 for n in sizes.values())
    if not good:
        raise RecipeError(f"[{where}] assumed_n is {sizes!r}; give {{row_id = whole number}}")
    changed = table.get("prior", {})
    if not isinstance(changed, Mapping):
        raise RecipeError(f"[{where}] prior is {changed!r}; give a table")
    return DurabilityVariant(
        name=text(table, where, "name"),
        title=text(table, where, "title"),
        add=_names(table, where, "add") if "add" in table else (),
        drop=_names(table, where, "drop") if "drop" in table else (),
        assumed_n=dict(sizes),
        prior=_prior({**prior, **changed}, f"{where}.prior"),
    )


def _mapping(table: Mapping[str, Any], where: str, key: str) -> Mapping[str, Any]:
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise RecipeError(f"the table [{where}.{key}] is missing; add it")
    return value


def _names(table: Mapping[str, Any], where: str, key: str) -> tuple[str, ...]:
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise RecipeError(f"[{where}] {key} is {value!r}; give a list of row ids")
    return tuple(value)
