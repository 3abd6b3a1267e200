"""The command ``ketacast-service``, run as its user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.service.running import Running, service_environment

from ketacast import __version__


def run(directory: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ketacast_service", *arguments],
        env=service_environment(directory, **settings),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [(), ("serve",), ("check",), ("openapi",), ("keys",), ("keys", "create"), ("audit", "verify")],
    ids=" ".join,
)
def test_every_command_explains_itself(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert not done.stderr


def test_it_names_its_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout.strip() == f"ketacast-service {__version__}"


def test_the_document_is_printed_without_a_service(
    tmp_path: Path, service: Running, http: httpx.Client
) -> None:
    done = run(tmp_path, "openapi")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == http.get("/openapi.json").json()
    assert not list(tmp_path.glob("service.db*"))


def test_check_says_what_would_be_served(tmp_path: Path) -> None:
    done = run(tmp_path, "check", port=8123)
    assert done.returncode == 0, done.stderr
    assert "ketamine-trd" in done.stdout
    assert "port 8123" in done.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"host": "0.0.0.0"}, "auth"),  # noqa: S104  # refused
        ({"host": "0.0.0.0", "auth": "keys", "tls_terminated": True}, "secret"),  # noqa: S104
        ({"port": "ninety"}, "port"),
        ({"colour": "blue"}, None),
        ({"workers": 0}, "workers"),
        ({"model": "/nowhere"}, "/nowhere"),
        ({"database_url": "mysql://x/y"}, "mysql"),
        ({"auth": "password"}, "auth"),
    ],
    ids=str,
)
def test_unusable_or_unsafe_settings_do_not_start(
    tmp_path: Path, settings: dict[str, object], told: str | None
) -> None:
    done = run(tmp_path, "check", **settings)
    if told is None:  # a foreign variable of the environment is not ours to judge
        assert done.returncode == 0
        return
    assert done.returncode in (1, 4)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_settings_file_is_read_and_its_mistakes_are_told(tmp_path: Path) -> None:
    good, bad, broken = (tmp_path / f"{name}.toml" for name in ("good", "bad", "broken"))
    good.write_text("port = 8456\nworkers = 2\n")
    bad.write_text("prot = 8456\n")
    broken.write_text("port = \n")
    assert "port 8456" in run(tmp_path, "check", "--config", str(good)).stdout
    done = run(tmp_path, "check", "--config", str(bad))
    assert done.returncode == 1
    assert "prot" in done.stderr
    done = run(tmp_path, "check", "--config", str(broken))
    assert done.returncode == 1
    assert "broken.toml" in done.stderr
    done = run(tmp_path, "check", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert "none.toml" in done.stderr


def test_a_taken_port_is_told(tmp_path: Path, service: Running) -> None:
    done = run(tmp_path, "serve", "--port", str(service.port))
    assert done.returncode == 1
    assert f"port {service.port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
