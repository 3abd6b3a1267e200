"""The recipe: which rows, which terms, which priors (``recipe.toml``)."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ketacast.clinical.durability_rules import DurabilityRules, parse_durability
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
    for number, overlay in enumerate(_entries(table, "sensitivity")):
        where = f"sensitivity[{number}]"
        name = _text(overlay, where, "name")
        changed = _overlay(base, overlay, where)
        variants.append((name, _text(overlay, where, "title"), _parse_one(changed, sha256)))
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
    _only(overlay, where, known)
    changed = dict(base)
    for key in ("priors", "half_normal", "data"):
        if key in overlay:
            if not isinstance(overlay[key], Mapping):
                raise RecipeError(f"[{where}] {key} is {overlay[key]!r}; give a table")
            changed[key] = {**base.get(key, {}), **overlay[key]}
    if "contrasts" in overlay:
        changed["contrasts"] = overlay["contrasts"]
    if "scale_priors" in overlay:
        factor = _number(overlay, where, "scale_priors", 0.01, 100.0)
        changed["priors"] = {
            name: {**prior, "sd": prior["sd"] * factor} for name, prior in changed["priors"].items()
        }
        changed["half_normal"] = {k: v * factor for k, v in changed["half_normal"].items()}
    return changed


def _parse_one(table: Mapping[str, Any], sha256: str) -> Recipe:
    known = {"schema", "model", "data", "support", "draws", "priors", "half_normal", "contrasts"}
    _only(table, "recipe", known | {"dynamics", "durability"})
    if table.get("schema") != SCHEMA:
        raise RecipeError(f"schema is {table.get('schema')!r}; this version reads schema {SCHEMA}")
    model, draws = _table(table, "model"), _table(table, "draws")
    _only(model, "model", {"name", "version", "title"})
    _only(draws, "draws", {"points", "count"})
    return Recipe(
        name=_text(model, "model", "name"),
        version=_text(model, "model", "version"),
        title=_text(model, "model", "title"),
        data=_data_rules(_table(table, "data")),
        support=_support(_table(table, "support")),
        points=_power_of_two(draws, "points"),
        draws=_power_of_two(draws, "count"),
        priors=_priors(_table(table, "priors")),
        half_normal=_half_normals(_table(table, "half_normal")),
        contrasts=tuple(
            _contrast(entry, f"contrasts[{i}]")
            for i, entry in enumerate(_entries(table, "contrasts"))
        ),
        sensitivity=(),
        dynamics=_dynamics(table),
        durability=parse_durability(_table(table, "durability")) if "durability" in table else None,
        sha256=sha256,
    )


def _dynamics(table: Mapping[str, Any]) -> DynamicsRules | None:
    if "dynamics" not in table:
        return None
    from ketacast.clinical.dynamics import DynamicsRules  # noqa: PLC0415  # NumPy

    return DynamicsRules.from_mapping(_table(table, "dynamics"))


def _data_rules(table: Mapping[str, Any]) -> DataRules:
    names = set(DataRules.__slots__)
    _only(table, "data", names)
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
        model_use=_texts(table, "model_use"),
        reference_infusions=_number(table, "data", "reference_infusions", 0.5, 100),
        plateau_infusions=_whole(table, "data", "plateau_infusions", 1, 100),
        unknown_infusions=_number(table, "data", "unknown_infusions", 0.5, 100),
        reference_failed_trials=_number(table, "data", "reference_failed_trials", 0, 50),
        include=tuple(include),
        exclude_families=_texts(table, "exclude_families"),
        unpaired_cohorts=_texts(table, "unpaired_cohorts"),
        drop_assumed_denominators=table["drop_assumed_denominators"],
    )


def _support(table: Mapping[str, Any]) -> Support:
    _only(table, "support", set(Support.__slots__))
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
    _only(table, "priors", set(COEFFICIENTS))
    priors = {}
    for name in COEFFICIENTS:
        entry = _table(table, name)
        _only(entry, f"priors.{name}", {"mean", "sd"})
        priors[name] = NormalPrior(
            _number(entry, f"priors.{name}", "mean", -20, 20),
            _number(entry, f"priors.{name}", "sd", 0, 100),
        )
    return priors


def _half_normals(table: Mapping[str, Any]) -> dict[str, float]:
    _only(table, "half_normal", set(TAUS))
    return {name: _number(table, "half_normal", name, 0, 20) for name in TAUS}


def _contrast(entry: Mapping[str, Any], where: str) -> ContrastUse:
    _only(entry, where, set(ContrastUse.__slots__))
    coefficient = _text(entry, where, "coefficient")
    if coefficient not in COEFFICIENTS:
        raise RecipeError(f"{where}: coefficient {coefficient!r}; choose of {COEFFICIENTS}")
    own = "log_or" in entry or "se" in entry
    return ContrastUse(
        id=_text(entry, where, "id"),
        coefficient=coefficient,
        gap=_number(entry, where, "gap", 0.01, 50),
        omega=_number(entry, where, "omega", 0, 20),
        log_or=_number(entry, where, "log_or", -20, 20) if own else None,
        se=_number(entry, where, "se", 1e-6, 20) if own else None,
    )


def _only(table: Mapping[str, Any], where: str, known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"[{where}] unknown entry {unknown[0]!r}; known: {sorted(known)}")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise RecipeError(f"the table [{key}] is missing; add it")
    return value


def _entries(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise RecipeError(f"{key} is {value!r}; give tables, each headed [[{key}]]")
    return value


def _text(table: Mapping[str, Any], where: str, key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise RecipeError(f"[{where}] {key} is {value!r}; give a text")
    return value


def _texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RecipeError(f"[data] {key} is {value!r}; give a list of texts")
    return tuple(value)


def _number(table: Mapping[str, Any], where: str, key: str, low: float, high: float) -> float:
    value = table.get(key)
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(float(value)) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise RecipeError(f"[{where}] {key} is {value!r}; give a number from {low} to {high}")
    return float(value)  # type: ignore[arg-type]


def _whole(table: Mapping[str, Any], where: str, key: str, low: int, high: int) -> int:
    value = table.get(key)
    if type(value) is not int or not low <= value <= high:
        raise RecipeError(f"[{where}] {key} is {value!r}; give a whole number, {low} to {high}")
    return value


def _power_of_two(table: Mapping[str, Any], key: str) -> int:
    value = _whole(table, "draws", key, 256, 2**20)
    if value & (value - 1):
        raise RecipeError(f"[draws] {key} is {value}; use a power of 2")
    return value
