"""The command ``ketacast-service``: serve, keys, audit, settings."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ketacast import __version__
from ketacast.errors import ArtifactError, InputError, KetacastError

if TYPE_CHECKING:
    from ketacast_service.settings import Settings

_EPILOG = """examples:
  ketacast-service serve                          on http://127.0.0.1:8000, no configuration
  ketacast-service serve --port 9000 --workers 2
  ketacast-service serve --config service.toml    settings of a file; KETACAST_* go first
  ketacast-service check --config service.toml    are the settings usable and safe?
  ketacast-service keys create --name "ward EHR" --scopes predict,read
  ketacast-service audit verify
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from ketacast_service import audit_commands, key_commands  # noqa: PLC0415  # their options

    parser = argparse.ArgumentParser(
        prog="ketacast-service",
        description="Serve predictions over HTTP; manage keys and the audit trail.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ketacast-service {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="start the service",
        description="Start the service. Without options it listens on this machine only.",
        epilog="Other settings: docs/service.md. Secrets by environment or file only.",
    )
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port, 0 for any free one (default 8000)")
    serve.add_argument("--workers", type=int, help="worker processes (default 1)")
    serve.add_argument("--model", help="directory of a model (default: the package's)")
    serve.set_defaults(run=_serve)
    check = commands.add_parser(
        "check",
        help="check settings, model and database without serving",
        description="Check that settings are usable and safe, the model verifies and the "
        "database is reached.",
    )
    check.set_defaults(run=_check)
    document = commands.add_parser(
        "openapi",
        help="print the OpenAPI document",
        description="Print the OpenAPI document of the API.",
    )
    document.set_defaults(run=_openapi)
    for command in (serve, check, document):
        command.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    key_commands.add_parsers(commands)
    audit_commands.add_parsers(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0; 1 for a failure, 2 for wrong use, 4 for an unusable model, 5 for a broken trail.
    """
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        return 130
    except KetacastError as error:
        print(f"ketacast-service: {error}", file=sys.stderr)
        if isinstance(error, ArtifactError):
            return 4
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        return 0
    return code


def _serve(options: argparse.Namespace) -> int:
    from ketacast_service.server import export_settings, serve, use_config  # noqa: PLC0415

    use_config(options.config)
    given = ("host", "port", "workers", "model")
    export_settings({name: getattr(options, name) for name in given})
    return serve(_settings())


def _check(options: argparse.Namespace) -> int:
    from ketacast_service import safety  # noqa: PLC0415  # only what the command needs
    from ketacast_service.database import migrate, open_engine  # noqa: PLC0415
    from ketacast_service.models import load_verified  # noqa: PLC0415
    from ketacast_service.server import use_config  # noqa: PLC0415

    use_config(options.config)
    settings = _settings()
    safety.check(settings)
    model = load_verified(settings.model).model
    engine = open_engine(settings.database(), timeout=settings.store_timeout_seconds)
    migrate(engine)
    engine.dispose()
    for remark in safety.warnings(settings):
        print(f"! {remark}")
    print(f"settings are usable and safe; model {model.name} {model.version} verified;")
    print(f"database reached; would listen on {settings.host} port {settings.port}")
    return 0


def _openapi(options: argparse.Namespace) -> int:
    from ketacast_service.app import build_framework, make_service  # noqa: PLC0415
    from ketacast_service.cds_hooks import CdsHooks  # noqa: PLC0415
    from ketacast_service.server import use_config  # noqa: PLC0415

    use_config(options.config)
    settings = _settings()
    with tempfile.TemporaryDirectory() as directory:  # nothing of the real store is touched
        service = make_service(settings, database=f"sqlite:///{directory}/empty.db")
        app = build_framework(settings, service, CdsHooks(service))
        print(json.dumps(app.openapi(), indent=2))
        service.work.close()
        service.engine.dispose()
    return 0


def _settings() -> Settings:
    from ketacast_service.settings import load_settings  # noqa: PLC0415  # pydantic

    return load_settings()
