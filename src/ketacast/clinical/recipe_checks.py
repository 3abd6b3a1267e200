"""Checks of a recipe's TOML tables, shared by its sections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ketacast.errors import RecipeError


def only(table: Mapping[str, Any], where: str, known: set[str]) -> None:
    """Refuse unknown entries."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"[{where}] unknown entry {unknown[0]!r}; known: {sorted(known)}")


def table_of(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a sub-table, which must be there."""
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise RecipeError(f"the table [{key}] is missing; add it")
    return value


def entries(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return an array of tables; empty if absent."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise RecipeError(f"{key} is {value!r}; give tables, each headed [[{key}]]")
    return value


def text(table: Mapping[str, Any], where: str, key: str) -> str:
    """Return a text that is not empty."""
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise RecipeError(f"[{where}] {key} is {value!r}; give a text")
    return value


def texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of texts."""
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RecipeError(f"[data] {key} is {value!r}; give a list of texts")
    return tuple(value)


def number(table: Mapping[str, Any], where: str, key: str, low: float, high: float) -> float:
    """Return a finite number in [low, high]."""
    value = table.get(key)
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(float(value)) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise RecipeError(f"[{where}] {key} is {value!r}; give a number from {low} to {high}")
    return float(value)  # type: ignore[arg-type]


def whole(table: Mapping[str, Any], where: str, key: str, low: int, high: int) -> int:
    """Return a whole number in [low, high]."""
    value = table.get(key)
    if type(value) is not int or not low <= value <= high:
        raise RecipeError(f"[{where}] {key} is {value!r}; give a whole number, {low} to {high}")
    return value


def power_of_two(table: Mapping[str, Any], key: str) -> int:
    """Return a power of two."""
    value = whole(table, "draws", key, 256, 2**20)
    if value & (value - 1):
        raise RecipeError(f"[draws] {key} is {value}; use a power of 2")
    return value
