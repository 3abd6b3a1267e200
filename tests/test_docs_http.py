"""The examples for HTTP clients run against the real service and print what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.service.running import Running, running_service

PAGE = Path(__file__).parent.parent / "docs" / "http-clients.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
#: Examples on the page by language; they must not vanish unseen.
EXPECTED = {"bash": 5, "javascript": 3, "r": 2, "python": 7}


def shown(language: str) -> tuple[str, list[str]]:
    """All code of a language as one program, and the lines that it prints."""
    blocks = FENCED.findall(PAGE.read_text(encoding="utf-8"))
    code: list[str] = []
    printed: list[str] = []
    for (kind, text), after in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == language:
            code.append(text)
            printed += after[1].splitlines() if after[0] == "text" else []
    assert len(code) == EXPECTED[language]
    return "\n".join(code), printed


def needed(tool: str, package: str) -> str:
    """Return a tool's path; without it skip, but fail in CI."""
    found = shutil.which(tool)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{tool} is missing; install the system package {package}")
        pytest.skip(f"{tool} is missing; install the system package {package}")
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A service that wants a key, and a key."""
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text(os.urandom(32).hex())
    secret.chmod(0o600)
    with running_service(auth="keys", secret_file=secret) as running:
        made = subprocess.run(
            [sys.executable, "-m", "ketacast_service", "keys", "create", "--name", "docs",
             "--scopes", "predict,read,clinics,simulate"],
            env=dict(running.environment), check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        yield running, made.stdout.strip()


def printed_by(
    command: list[str], service: tuple[Running, str], directory: Path, code: str
) -> list[str]:
    running, token = service
    inside = {"KETACAST_URL": running.url, "KETACAST_TOKEN": token}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KETACAST_")}
    done = subprocess.run(
        command, env={**kept, **inside}, cwd=directory, check=False, capture_output=True,
        text=True, timeout=120, input=code,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert token not in done.stdout + done.stderr
    assert token not in running.log.read_text(encoding="utf-8")
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_curl(service: tuple[Running, str], tmp_path: Path) -> None:
    needed("curl", "curl")
    bash = needed("bash", "bash")
    code, expected = shown("bash")
    found = printed_by([bash, "-euo", "pipefail", "-s"], service, tmp_path, code)
    assert found == expected
    for name in ("answer", "under-way", "record", "clinic", "with-clinic", "day-clinic", "many"):
        assert (tmp_path / f"{name}.json").stat().st_size > 100
    assert (tmp_path / "card.md").read_text(encoding="utf-8").startswith("#")
    assert (tmp_path / "outcomes.csv").read_text(encoding="utf-8").count("\n") > 10


def test_javascript(service: tuple[Running, str], tmp_path: Path) -> None:
    node = needed("node", "nodejs")
    code, expected = shown("javascript")
    assert printed_by([node, "--input-type=module", "-"], service, tmp_path, code) == expected


def test_r_can_be_read(tmp_path: Path) -> None:
    rscript = needed("Rscript", "r-base-core")
    code, _ = shown("r")
    if "|>" in code and _r(rscript, "cat(as.integer(getRversion() >= '4.1'))") != "1":
        pytest.skip("R is older than 4.1, whose pipe and functions the page uses")
    (tmp_path / "examples.R").write_text(code, encoding="utf-8")
    file = str(tmp_path / "examples.R")
    assert _r(rscript, "cat(length(parse(file = commandArgs(TRUE))) > 5)", file) == "TRUE"


def test_r_runs_where_httr2_is(service: tuple[Running, str], tmp_path: Path) -> None:
    rscript = needed("Rscript", "r-base-core")
    if _r(rscript, "cat(requireNamespace('httr2', quietly = TRUE))") != "TRUE":
        pytest.skip("the R package httr2 is missing; the examples were parsed")
    code, expected = shown("r")
    (tmp_path / "examples.R").write_text(code, encoding="utf-8")
    command = [rscript, "--vanilla", str(tmp_path / "examples.R")]
    assert printed_by(command, service, tmp_path, "") == expected


def _r(rscript: str, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [rscript, "--vanilla", "-e", code, *arguments],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python(service: tuple[Running, str], tmp_path: Path) -> None:
    code, expected = shown("python")
    command = [sys.executable, "-W", "error", "-"]
    assert printed_by(command, service, tmp_path, code) == expected
