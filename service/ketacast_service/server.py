"""Run the service: a parent that keeps workers, and hands over to new ones on SIGHUP."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from ketacast_service import safety
from ketacast_service.errors import ServiceError
from ketacast_service.protocol import BoundedProtocol, PatientConfig
from ketacast_service.settings import Settings
from ketacast_service.supervisor import Supervisor

_WORKER_SECONDS: Final = 30


def serve(settings: Settings) -> int:
    """Serve until told to stop.

    SIGTERM and SIGINT let requests finish. SIGHUP starts new workers, which load and
    verify the model anew; old workers answer until the new ones are ready, and stay if
    they do not become so.

    Raises
    ------
    ServiceError
        If the settings are not safe or the address is taken.
    """
    safety.check(settings)
    config = PatientConfig(
        "ketacast_service.supervisor:worker_app",
        factory=True,
        http=BoundedProtocol,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        # On a busy machine a new worker needs more than the five seconds of the default.
        timeout_worker_healthcheck=_WORKER_SECONDS,
    )
    config.patience = settings.body_timeout_seconds
    with tempfile.TemporaryDirectory(prefix="ketacast-metrics-") as directory:
        if settings.workers > 1:  # one worker counts in its memory, which is cheaper
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", directory)
        try:
            socket = config.bind_socket()
        except SystemExit:
            raise ServiceError(
                f"cannot listen on {settings.host} port {settings.port}: it is in use or not "
                "allowed; choose another with --port"
            ) from None
        host, port = socket.getsockname()[:2]
        scheme = "https" if settings.tls_certificate else "http"
        shown = f"[{host}]" if ":" in host else host
        print(f"ketacast answers at {scheme}://{shown}:{port}", file=sys.stderr, flush=True)
        if settings.docs:
            print(f"API page: {scheme}://{shown}:{port}/docs", file=sys.stderr, flush=True)
        supervisor = Supervisor(config, sockets=[socket])
        supervisor.run()
        is_well = all(process.exitcode in (0, None) for process in supervisor.processes)
        return 0 if is_well and supervisor.has_served else 1


def export_settings(given: dict[str, object]) -> None:
    """Hand what the command line gave to the workers, which read the environment."""
    for name, value in given.items():
        if value is not None:
            os.environ[f"KETACAST_{name.upper()}"] = str(value)


def use_config(path: str | None) -> None:
    """Let the workers read a settings file."""
    if path is not None:
        os.environ["KETACAST_CONFIG"] = str(Path(path).resolve())
