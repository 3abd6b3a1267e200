"""The recipe: which rows, which terms, which priors (``recipe.toml``)."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ketacast.clinical.durability_rules import DurabilityRules, parse_durability
from ketacast.clinical.recipe_checks import (
    entries,
    number,
    only,
    power_of_two,
    table_of,
    text,
    texts,
    whole,
)
from ketacast.errors import RecipeError

if TYPE_CHECKING:
    from ketacast.clinical.dynamics import DynamicsRules

COEFFICIENTS: Final = ("a_R", "b_R", "h_R", "g_R", "a_M", "b_M", "h_M", "g_M")
TAUS: Final = ("tau_R", "tau_M", "tau_b")
SCHEMA: Final = 1

MEANINGS: Final[Mapping[str, str]] = {
    "a_R": "response: logit at 6 infusions, 6 failed trials, midway between raters",
    "b_R": "response: per doubling of infusions",
    "h_R": "response: clinician-rated minus self-rated",
    "g_R": "response: per failed trial",
    "a_M": "remission given response: logit at 6 infusions, 6 failed trials, midway between raters",
    "b_M": "remission given response: per doubling of infusions",
    "h_M": "remission given response: clinician-rated minus self-rated",
    "g_M": "remission given response: per failed trial",
    "tau_R": "response: SD between cohorts",
    "tau_M": "remission given response: SD between cohorts",
    "tau_b": "response per doubling of infusions: SD between cohorts",
}


@dataclass(frozen=True, slots=True)
class NormalPrior:
    """Normal prior of a coefficient; ``sd = 0`` fixes it at its mean."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class ContrastUse:
    """How a contrast informs a coefficient.

    ``log_or ~ N(gap * coefficient, se^2 + omega^2)``; `log_or` and `se` are None
    where they come from the evidence row `id`.
    """

    id: str
    coefficient: str
    gap: float
    omega: float
    log_or: float | None = None
    se: float | None = None


@dataclass(frozen=True, slots=True)
class DataRules:
    """Which outcome rows enter and how their covariates are coded."""

    model_use: tuple[str, ...]
    reference_infusions: float
    plateau_infusions: int
    unknown_infusions: float
    reference_failed_trials: float
    include: tuple[tuple[str, str], ...]
    exclude_families: tuple[str, ...]
    unpaired_cohorts: tuple[str, ...]
    drop_assumed_denominators: bool


@dataclass(frozen=True, slots=True)
class Support:
    """Ranges inside which the model answers plainly, and at all."""

    failed_trials: tuple[int, int]
    failed_trials_answered: tuple[int, int]
    infusions: tuple[int, int]
    infusions_answered: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that defines the model apart from the evidence."""

    name: str
    version: str
    title: str
    data: DataRules
    support: Support
    points: int
    draws: int
    priors: Mapping[str, NormalPrior]
    half_normal: Mapping[str, float]
    contrasts: tuple[ContrastUse, ...]
    sensitivity: tuple[tuple[str, str, Recipe], ...]
    dynamics: DynamicsRules | None
    durability: DurabilityRules | None
    sha256: str


def load_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe file.

    Parameters
    ----------
    path : path
        A TOML file.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If the file cannot be read or an entry is missing, unknown or out of range.
    """
    try:
        raw = Path(path).read_bytes()
        table = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    digest = hashlib.sha256(raw.replace(b"\r\n", b"\n")).hexdigest()
    return parse_recipe(table, digest)


def parse_recipe(table: Mapping[str, Any], sha256: str) -> Recipe:
    """Turn a TOML table into a :class:`Recipe`; see :func:`load_recipe`."""
    base = {key: value for key, value in table.items() if key != "sensitivity"}
    recipe = _parse_one(base, sha256)
    variants = []
    for place, overlay in enumerate(entries(table, "sensitivity")):
        where = f"sensitivity[{place}]"
        name = text(overlay, where, "name")
        changed = _overlay(base, overlay, where)
        variants.append((name, text(overlay, where, "title"), _parse_one(changed, sha256)))
    names = [name for name, _, _ in variants]
    if len(set(names)) < len(names):
        raise RecipeError(f"sensitivity names {names} repeat; give each its own")
    return _with_sensitivity(recipe, tuple(variants))


def without_moderators(recipe: Recipe) -> Recipe:
    """Return the same recipe with intercepts and their heterogeneity alone."""
    kept = {"a_R", "a_M"}
    return Recipe(
        **{
            **_fields(recipe),
            "priors": {
                name: prior if name in kept else NormalPrior(0.0, 0.0)
                for name, prior in recipe.priors.items()
            },
            "half_normal": {**recipe.half_normal, "tau_b": 0.0},
            "contrasts": (),
            "sensitivity": (),
        }
    )


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in Recipe.__slots__}


def _with_sensitivity(recipe: Recipe, variants: tuple[tuple[str, str, Recipe], ...]) -> Recipe:
    return Recipe(**{**_fields(recipe), "sensitivity": variants})


def _overlay(base: Mapping[str, Any], overlay: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = {"name", "title", "contrasts", "priors", "half_normal", "data", "scale_priors"}
    only(overlay, where, known)
    changed = dict(base)
    for key in ("priors", "half_normal", "data"):
        if key in overlay:
            if not isinstance(overlay[key], Mapping):
                raise RecipeError(f"[{where}] {key} is {overlay[key]!r}; give a table")
            changed[key] = {**base.get(key, {}), **overlay[key]}
    if "contrasts" in overlay:
        changed["contrasts"] = overlay["contrasts"]
    if "scale_priors" in overlay:
        factor = number(overlay, where, "scale_priors", 0.01, 100.0)
        changed["priors"] = {
            name: {**prior, "sd": prior["sd"] * factor} for name, prior in changed["priors"].items()
        }
        changed["half_normal"] = {k: v * factor for k, v in changed["half_normal"].items()}
    return changed


def _parse_one(table: Mapping[str, Any], sha256: str) -> Recipe:
    known = {"schema", "model", "data", "support", "draws", "priors", "half_normal", "contrasts"}
    only(table, "recipe", known | {"dynamics", "durability"})
    if table.get("schema") != SCHEMA:
        raise RecipeError(f"schema is {table.get('schema')!r}; this version reads schema {SCHEMA}")
    model, draws = table_of(table, "model"), table_of(table, "draws")
    only(model, "model", {"name", "version", "title"})
    only(draws, "draws", {"points", "count"})
    return Recipe(
        name=text(model, "model", "name"),
        version=text(model, "model", "version"),
        title=text(model, "model", "title"),
        data=_data_rules(table_of(table, "data")),
        support=_support(table_of(table, "support")),
        points=power_of_two(draws, "points"),
        draws=power_of_two(draws, "count"),
        priors=_priors(table_of(table, "priors")),
        half_normal=_half_normals(table_of(table, "half_normal")),
        contrasts=tuple(
            _contrast(entry, f"contrasts[{i}]")
            for i, entry in enumerate(entries(table, "contrasts"))
        ),
        sensitivity=(),
        dynamics=_dynamics(table),
        durability=parse_durability(table_of(table, "durability"))
        if "durability" in table
        else None,
        sha256=sha256,
    )


def _dynamics(table: Mapping[str, Any]) -> DynamicsRules | None:
    if "dynamics" not in table:
        return None
    from ketacast.clinical.dynamics import DynamicsRules  # noqa: PLC0415  # NumPy

    return DynamicsRules.from_mapping(table_of(table, "dynamics"))


def _durability(table: Mapping[str, Any]) -> DurabilityRules | None:
    if "durability" not in table:
        return None
    return parse_durability(table_of(table, "durability"))


def _data_rules(table: Mapping[str, Any]) -> DataRules:
    names = set(DataRules.__slots__)
    only(table, "data", names)
    missing = sorted(names - set(table))
    if missing:
        raise RecipeError(f"[data] lacks {', '.join(missing)}")
    if not isinstance(table["drop_assumed_denominators"], bool):
        raise RecipeError("[data] drop_assumed_denominators must be true or false")
    include = []
    if not isinstance(table["include"], list):
        raise RecipeError(f"[data] include is {table['include']!r}; give a list")
    for entry in table["include"]:
        if not isinstance(entry, Mapping) or set(entry) != {"cohort", "timepoint"}:
            raise RecipeError(f"[data] include {entry!r}: write {{cohort = ..., timepoint = ...}}")
        include.append((str(entry["cohort"]), str(entry["timepoint"])))
    return DataRules(
        model_use=texts(table, "model_use"),
        reference_infusions=number(table, "data", "reference_infusions", 0.5, 100),
        plateau_infusions=whole(table, "data", "plateau_infusions", 1, 100),
        unknown_infusions=number(table, "data", "unknown_infusions", 0.5, 100),
        reference_failed_trials=number(table, "data", "reference_failed_trials", 0, 50),
        include=tuple(include),
        exclude_families=texts(table, "exclude_families"),
        unpaired_cohorts=texts(table, "unpaired_cohorts"),
        drop_assumed_denominators=table["drop_assumed_denominators"],
    )


def _support(table: Mapping[str, Any]) -> Support:
    only(table, "support", set(Support.__slots__))
    ranges: dict[str, tuple[int, int]] = {}
    for key in Support.__slots__:
        pair = table.get(key)
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(type(value) is int for value in pair)
            or not 0 <= pair[0] <= pair[1] <= 100
        ):
            raise RecipeError(f"[support] {key} is {pair!r}; give [low, high], whole, 0 to 100")
        ranges[key] = (pair[0], pair[1])
    return Support(**ranges)


def _priors(table: Mapping[str, Any]) -> dict[str, NormalPrior]:
    only(table, "priors", set(COEFFICIENTS))
    priors = {}
    for name in COEFFICIENTS:
        entry = table_of(table, name)
        only(entry, f"priors.{name}", {"mean", "sd"})
        priors[name] = NormalPrior(
            number(entry, f"priors.{name}", "mean", -20, 20),
            number(entry, f"priors.{name}", "sd", 0, 100),
        )
    return priors


def _half_normals(table: Mapping[str, Any]) -> dict[str, float]:
    only(table, "half_normal", set(TAUS))
    return {name: number(table, "half_normal", name, 0, 20) for name in TAUS}


def _contrast(entry: Mapping[str, Any], where: str) -> ContrastUse:
    only(entry, where, set(ContrastUse.__slots__))
    coefficient = text(entry, where, "coefficient")
    if coefficient not in COEFFICIENTS:
        raise RecipeError(f"{where}: coefficient {coefficient!r}; choose of {COEFFICIENTS}")
    own = "log_or" in entry or "se" in entry
    return ContrastUse(
        id=text(entry, where, "id"),
        coefficient=coefficient,
        gap=number(entry, where, "gap", 0.01, 50),
        omega=number(entry, where, "omega", 0, 20),
        log_or=number(entry, where, "log_or", -20, 20) if own else None,
        se=number(entry, where, "se", 1e-6, 20) if own else None,
    )
