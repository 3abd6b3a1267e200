"""Settings by environment (``KETACAST_*``) and a TOML file; secrets by environment or file only."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ketacast_service.errors import ServiceError

Auth = Literal["none", "keys", "jwt", "keys+jwt"]
CdsMode = Literal["off", "none", "api", "jwt"]
Words = Annotated[tuple[str, ...], NoDecode]

MEBIBYTE: Final = 1 << 20
SHORTEST_SECRET: Final = 32
"""Characters; a key of HMAC-SHA256 shorter than its digest weakens it."""


class CdsClient(BaseModel):
    """A client of CDS Hooks whose tokens count.

    Attributes
    ----------
    issuer : str
        The ``iss`` of its tokens, to the letter.
    jwks_file : Path or None
        Its public keys, for tokens that name no address of keys.
    jwks_urls : tuple of str
        Addresses of keys that its tokens may name (``jku``); one alone also serves
        tokens that name none.
    tenants : tuple of str
        Values of ``tenant`` that count; any, or none, if empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    jwks_file: Path | None = None
    jwks_urls: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()


class Settings(BaseSettings):
    """What an operator sets; ``docs/service.md`` explains each."""

    model_config = SettingsConfigDict(env_prefix="KETACAST_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    model: Path | None = None
    database_url: SecretStr | None = None
    public_url: str | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_terminated: bool = False
    trusted_proxies: Words = ()

    auth: Auth = "none"
    secret: SecretStr | None = None
    secret_file: Path | None = None
    keys_refresh_seconds: float = Field(2.0, gt=0, le=60)
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_file: Path | None = None
    jwt_jwks_url: str | None = None
    jwt_jwks_hosts: Words = ()
    jwt_algorithms: Words = ("RS256", "RS384", "ES256", "ES384")
    jwt_leeway_seconds: float = Field(30.0, ge=0, le=300)
    jwt_longest_bytes: int = Field(8192, ge=512, le=65536)

    rate_per_second: float = Field(100.0, ge=0)
    rate_burst: int = Field(200, ge=1)
    cors_origins: Words = ()
    max_body_bytes: int = Field(MEBIBYTE, ge=1024)
    max_batch_bytes: int = Field(64 * MEBIBYTE, ge=1024)
    max_batch_rows: int = Field(1_000_000, ge=1, le=1_000_000)
    max_waiting: int = Field(32, ge=1)
    body_timeout_seconds: float = Field(20.0, gt=0, le=600)

    audit_required: bool = True
    audit_retention_days: int | None = Field(None, ge=1)
    store_timeout_seconds: float = Field(5.0, gt=0, le=60)

    simulations_waiting: int = Field(16, ge=0)
    simulations_unfinished: int = Field(4, ge=1)
    simulations_kept: int = Field(50, ge=1)
    simulations_running: int = Field(1, ge=1, le=64)
    simulation_seconds: float = Field(900.0, gt=0)
    simulation_days: int = Field(7, ge=1, le=3650)
    simulation_directory: Path | None = None

    cds_auth: Literal["auto"] | CdsMode = "auto"
    cds_clients: tuple[CdsClient, ...] = ()
    cds_algorithms: Words = ("ES384", "RS384")
    cds_fhir_servers: Words = ()
    cds_fhir_seconds: float = Field(2.0, gt=0, le=30)
    cds_max_body_bytes: int = Field(16 * MEBIBYTE, ge=1024)
    cds_lookup_url: str | None = None
    cds_source_url: str | None = None

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    access_log: bool = True
    docs: bool = True
    page: Literal["auto", "open", "off"] = "auto"
    telemetry: bool = False
    shutdown_seconds: int = Field(20, ge=1, le=600)

    @field_validator(
        "trusted_proxies",
        "jwt_jwks_hosts",
        "jwt_algorithms",
        "cors_origins",
        "cds_algorithms",
        "cds_fhir_servers",
        mode="before",
    )
    @classmethod
    def _words(cls, value: object) -> object:
        """Take a comma-separated text, as environments give it, or a list."""
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(",") if word.strip())
        return tuple(value) if isinstance(value, list) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # no hidden files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        path = os.environ.get("KETACAST_CONFIG")
        if path is None:
            return (init_settings, env_settings)
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path))

    @property
    def shows_page(self) -> bool:
        """Whether the lookup page is served: unless set, only where all is open anyway."""
        return self.page == "open" or (self.page == "auto" and self.auth == "none")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_encrypted(self) -> bool:
        """Whether clients reach the service by TLS, here or at a proxy."""
        return self.tls_terminated or self.tls_certificate is not None

    @property
    def cds_mode(self) -> CdsMode:
        """How clients of CDS Hooks are told apart; off unless listed, or all is open here."""
        if self.cds_auth != "auto":
            return self.cds_auth
        if self.cds_clients:
            return "jwt"
        return "none" if self.auth == "none" and self.is_loopback else "off"

    @property
    def cds_source(self) -> str | None:
        """Address of a page on the model that cards name as their source, if there is one."""
        return self.cds_source_url or self._page_address("/page/model-card")

    @property
    def cds_lookup(self) -> str | None:
        """Address of the lookup page, which cards link to with their inputs, if there is one."""
        return self.cds_lookup_url or self._page_address("/")

    def _page_address(self, path: str) -> str | None:
        """Return where clients find a part of the page; None if it is not served."""
        if self.public_url is None or not self.shows_page:
            return None
        return self.public_url.rstrip("/") + path

    def database(self) -> str:
        """Return the database's URL, with its password if it has one."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{state_directory() / 'service.db'}"

    def server_secret(self) -> bytes:
        """Return the secret that keys are checked with.

        Raises
        ------
        ServiceError
            If there is none, it cannot be read or is too short.
        """
        if self.secret_file is not None:
            try:
                text = self.secret_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ServiceError(
                    f"secret_file {self.secret_file} cannot be read ({error.__class__.__name__}); "
                    "give a file with one line of random text that the service may read"
                ) from error
        elif self.secret is not None:
            text = self.secret.get_secret_value()
        else:
            raise ServiceError(
                "API keys need a server secret; write one with `openssl rand -hex 32 > FILE` and "
                "set KETACAST_SECRET_FILE=FILE"
            )
        if len(text) < SHORTEST_SECRET:
            raise ServiceError(
                f"the server secret has {len(text)} characters; give at least {SHORTEST_SECRET}, "
                "for example of `openssl rand -hex 32`"
            )
        return text.encode()


def state_directory() -> Path:
    """Return where the service keeps its database by default: the user's state directory."""
    given = os.environ.get("STATE_DIRECTORY")  # set by systemd
    if given:
        return Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return base / "ketacast"


def load_settings(**given: Any) -> Settings:
    """Read settings from arguments, environment and the file named by ``KETACAST_CONFIG``.

    Raises
    ------
    ServiceError
        If a setting is unknown or not usable; values are not shown, for they may be secret.
    """
    path = os.environ.get("KETACAST_CONFIG")
    if path is not None and not Path(path).is_file():
        raise ServiceError(f"KETACAST_CONFIG names {path}, which is no file; correct the path")
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise ServiceError("settings cannot be used:\n" + "\n".join(lines)) from None
    except ValueError as error:  # the TOML file
        raise ServiceError(f"the settings file {path} cannot be read: {error}") from None
