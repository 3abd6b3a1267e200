"""Each file imports only from lower layers; the imports are read, not trusted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "ketacast"

LAYERS = [
    {"errors", "version"},
    {"options", "arrays"},
    {"evidence", "effects"},
    {"numerics"},
    {"design"},
    {"estimators"},
    {"clinical"},
    {"prediction"},
    {"fhir", "notices", "prediction_text"},
    {"card", "history", "updating"},
    {"course_answer"},
    {"predictor"},
    {"batch", "comparison"},
    {"simulation"},
    {"plots"},
    {"cli", "client"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

FILES = sorted(SOURCE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First-level parts of ketacast that a file imports when it runs or is type-checked."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("ketacast."):
                found.add(name.split(".")[1])
    return found


def test_every_part_has_a_layer() -> None:
    assert {part(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    own = part(path)
    for other in imported(path) - {own}:
        allowed = LEVEL[other] <= LEVEL[own] if own == "prediction" else LEVEL[other] < LEVEL[own]
        lazy_text = own == "prediction" and other == "prediction_text"  # __str__ formats itself
        assert allowed or lazy_text, f"{own} imports {other}, which is not below it"


def test_the_clinical_model_stands_without_the_estimators() -> None:
    for path in (SOURCE / "clinical").rglob("*.py"):
        assert imported(path).isdisjoint({"design", "estimators"}), path


def test_numerics_neither_print_nor_touch_files() -> None:
    for path in (SOURCE / "numerics").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"print", "open", "input"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"pathlib", "os", "random"}, f"{path}:{node.lineno}"


def test_files_can_be_read_in_one_sitting() -> None:
    too_long = {
        str(path.relative_to(SOURCE)): lines
        for path in FILES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not too_long
