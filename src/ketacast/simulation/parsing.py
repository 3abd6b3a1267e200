"""Read TOML, YAML and JSON that someone else may have written: bounded, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ketacast.errors import InputError

MOST_BYTES: Final = 10**6
"""Bytes of a specification at most: it is read into memory before it is checked."""

MOST_YAML_NODES: Final = 100_000
"""Values of a YAML file with its aliases written out: a page of them can stand for billions."""

ENDINGS: Final = (".toml", ".yaml", ".yml", ".json")


def read_document(file: Path) -> dict[str, Any]:
    """Read a file of tables.

    Raises
    ------
    InputError
        If it cannot be read, is too large or too deep, or names an entry twice.
    """
    if file.suffix not in ENDINGS:
        raise InputError(f"cannot read {str(file)!r}; give a .toml, .yaml or .json file")
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {file}: {reason}; check the path") from error
    if len(raw) > MOST_BYTES:
        raise InputError(
            f"{file} has more than {MOST_BYTES} bytes; a specification has at most {MOST_BYTES}: "
            "put the cohort into a table of its own"
        )
    try:
        document = _decoded(file.suffix, raw.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({_short(error)}); mend it there") from error
    except RecursionError as error:
        raise InputError(
            f"{file} cannot be read (its values are nested too deeply); mend it there"
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{file} holds no tables; see docs/simulation/specification.md")
    return document


def _short(error: Exception) -> str:
    told = str(error)
    return told if len(told) <= 500 else f"{told[:500]}..."


def _decoded(ending: str, text: str) -> object:
    if ending == ".toml":
        import tomllib  # noqa: PLC0415

        return tomllib.loads(text)
    if ending == ".json":
        return json.loads(text, object_pairs_hook=_each_once)
    return _from_yaml(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one table")
    return found


def _from_yaml(text: str) -> object:
    import yaml  # noqa: PLC0415

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        _count(node, {}, set())
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _count(node: Any, known: dict[int, int], above: set[int]) -> int:
    """Count the values below a node, aliases written out, and refuse names that stand twice."""
    place = id(node)
    if place in above:
        raise ValueError("a value stands within itself")
    if place in known:
        return known[place]
    above.add(place)
    total = 1
    parts = node.value if isinstance(node.value, list) else []
    if node.id == "mapping":
        names = [key.value for key, _ in parts if key.id == "scalar"]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice!r} stands twice in one table")
        parts = [one for pair in parts for one in pair]
    for one in parts:
        total += _count(one, known, above)
        if total > MOST_YAML_NODES:
            raise ValueError(f"with its aliases it holds more than {MOST_YAML_NODES:,} values")
    above.discard(place)
    known[place] = total
    return total
