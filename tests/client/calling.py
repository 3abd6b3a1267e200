"""Call either client the same way."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from ketacast.client import AsyncClient, Client

Kind = Literal["blocking", "asynchronous"]
KINDS: tuple[Kind, ...] = ("blocking", "asynchronous")


def call(kind: Kind, url: str, method: str, *given: Any, client: Any = None, **named: Any) -> Any:
    """Call a method of a new client; `client` holds its settings."""
    settings = client or {}
    if kind == "blocking":
        with Client(url, **settings) as one:
            return getattr(one, method)(*given, **named)

    async def main() -> Any:
        async with AsyncClient(url, **settings) as other:
            return await getattr(other, method)(*given, **named)

    return asyncio.run(main())
