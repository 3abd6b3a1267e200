"""The yardstick: a bare Starlette endpoint that sends some bytes, and nothing else.

It checks no body, knows no client, records nothing. ``python http_yardstick.py PORT FILE``
serves the bytes of a file on ``POST /v1/predictions``, on the same server as the service.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(body: bytes) -> Starlette:
    """Return the application."""

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/v1/predictions", answer, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[2]).read_bytes()),
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False,
    )  # fmt: skip
