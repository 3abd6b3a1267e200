"""The service formats predictions: it sees the layers made for it and never the numerics."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ketacast_service.access import SCOPES, required_scope
from ketacast_service.settings import Settings

ROOT = Path(__file__).parent.parent.parent
SERVICE = ROOT / "service" / "ketacast_service"
FILES = sorted(SERVICE.rglob("*.py"))

ALLOWED = {
    "batch", "card", "clinical", "comparison", "errors", "evidence", "fhir", "history", "options",
    "prediction", "prediction_text", "predictor", "simulation", "updating", "version",
}  # fmt: skip
LOWEST = {"access", "accepting", "calls", "errors", "moments", "schema", "settings"}
MIDDLE = {
    "apart", "audit", "database", "incoming", "migrations", "models", "observability",
    "protocol", "safety", "security", "sending", "simulations", "validation", "work",
}  # fmt: skip
ROUTES = {"api", "cds_hooks", "docs_page", "fhir", "openapi", "state", "web"}
TOP = {
    "__init__", "__main__", "app", "audit_commands", "cli", "gate", "key_commands", "server",
    "supervisor", "telemetry",
}  # fmt: skip
LEVEL = {name: level for level, names in enumerate((LOWEST, MIDDLE, ROUTES, TOP)) for name in names}


def part(path: Path) -> str:
    return path.relative_to(SERVICE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[tuple[str, str]]:
    """Package and first part of every import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module in ("ketacast", "ketacast_service"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if rest:
                found.add((package, rest.partition(".")[0]))
    return found


def test_every_part_has_a_layer() -> None:
    assert {part(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_imports_point_downward(path: Path) -> None:
    own = part(path)
    for package, other in imports(path):
        if package == "ketacast_service" and other != own:
            assert LEVEL[other] <= LEVEL[own], f"{own} imports {other}, which is not below it"
        if package == "ketacast" and other != "__version__":
            assert other in ALLOWED, f"{own} imports ketacast.{other}"


def test_the_library_does_not_know_the_service() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert all(package != "ketacast_service" for package, _ in imports(path)), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/livez", None),
        ("/readyz", None),
        ("/docs/assets/swagger-ui.css", None),
        ("/docsx", "read"),
        ("/", None),
        ("/page/answer", None),
        ("/pages", "read"),
        ("/metrics", "metrics"),
        ("/v1/predictions", "predict"),
        ("/v1/predictions/batch", "predict"),
        ("/v1/clinics/x/outcomes", "clinics"),
        ("/v1/model", "read"),
        ("/anything", "read"),
        ("//livez", "read"),
    ],
)
def test_what_is_not_named_open_is_closed(path: str, scope: str | None) -> None:
    assert required_scope(path) == scope
    assert scope is None or scope in SCOPES


def test_the_page_names_every_setting() -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`{name}`" not in text]
    assert not missing
