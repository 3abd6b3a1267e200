"""What the client imports, and when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "src" / "ketacast" / "client").glob("*.py"))
BELOW = {"client", "errors", "options", "prediction"}
#: A result is the library's own value, read from the bytes that the service keeps.
READING = {
    "simulations.py": {"ketacast.simulation", "ketacast.simulation.parquet"},
    "simulation_operations.py": {"ketacast.simulation", "ketacast.simulation.documents"},
}  # fmt: skip

CODE = """
import sys
import {module}
heavy = {{"httpx", "numpy", "pandas", "pyarrow", "ssl", "asyncio"}} & set(sys.modules)
assert heavy <= {allowed}, heavy
"""


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("ketacast", "set()"), ("ketacast.client", "{'asyncio', 'ssl'}")],
)
def test_importing_needs_the_standard_library_only(module: str, allowed: str) -> None:
    code = CODE.format(module=module, allowed=allowed)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_client_never_reaches_what_computes(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ketacast."):
            module = node.module or ""
            assert module.split(".")[1] in BELOW or module in READING.get(path.name, ())


def test_without_httpx_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "from ketacast.client import AsyncClient, Client\n"
        "from ketacast.errors import MissingDependencyError\n"
        "for kind in (Client, AsyncClient):\n"
        "    try:\n        kind()\n"
        "    except MissingDependencyError as error:\n"
        "        assert \"pip install 'ketacast[client]'\" in str(error), error\n"
        "    else:\n        raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
