"""Read a client's FHIR server: listed servers only, within limits of time, size and pages.

The token is the client's, for one call: it goes into the header of requests to that one
server and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from ketacast.history.fhir import items, mapping, text
from ketacast_service.cds_hooks.requests import Access
from ketacast_service.settings import Settings

MOST_PAGES: Final = 20
MOST_BYTES: Final = 16 << 20
"""Of all answers to one call; a page of a thousand orders has about 2 MB."""
MOST_AT_ONCE: Final = 32
"""Connections over all calls."""
_INLINE: Final = 64 << 10
"""Larger pages are parsed in a thread."""


class ReadError(Exception):
    """Data could not be read.

    Parameters
    ----------
    reason : str
        For the client; it names no address and nothing of the data.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FhirReader:
    """Reads FHIR servers that the operator has listed.

    Parameters
    ----------
    settings : Settings
        Which servers, and how long reading may take.
    transport : httpx transport, optional
        For tests.
    """

    def __init__(
        self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._servers = frozenset(server.rstrip("/") for server in settings.cds_fhir_servers)
        self._seconds = settings.cds_fhir_seconds
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    def session(self, access: Access, begun: float) -> Session:
        """Begin to read for one call.

        Parameters
        ----------
        access : Access
            The client's leave.
        begun : float
            When the call came, by the event loop's clock: its time runs from then.

        Raises
        ------
        ReadError
            If the server is not listed.
        """
        base = access.server.rstrip("/")
        if base not in self._servers:
            raise ReadError("fhirServer is not a server that this service may read")
        if self._client is None:
            self._client = httpx.AsyncClient(
                follow_redirects=False,
                timeout=self._seconds,
                limits=httpx.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=8),
                transport=self._transport,
            )
        return Session(self._client, base, access.token, begun + self._seconds)

    async def close(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class Session:
    """Reading for one call; everything together has to end within its time."""

    def __init__(self, client: httpx.AsyncClient, base: str, token: str, end: float) -> None:
        self._client = client
        self._base = base
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/fhir+json, application/json;q=0.5",
            # Unencoded, so that a small answer cannot unpack to a large one.
            "Accept-Encoding": "identity",
        }
        self._left = MOST_BYTES
        self._end = end

    async def read_all(
        self, wanted: Mapping[str, str], begun: Mapping[str, Sequence[Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, str], dict[str, list[Any]]]:
        """Read queries side by side, and further pages of Bundles that are at hand.

        Parameters
        ----------
        wanted : mapping of str to str
            Queries relative to the server, by key.
        begun : mapping of str to list
            Bundles by key, each perhaps the first page of more.

        Returns
        -------
        read : dict of str to list
            Documents by key.
        failed : dict of str to str
            Reasons by key.
        continued : dict of str to list
            The Bundles of `begun` that had further pages, with those that could be read.
        """
        more = {key: held for key, held in begun.items() if any(map(_next, held))}
        found = await asyncio.gather(
            *[self._read(f"{self._base}/{query}") for query in wanted.values()],
            *[self._continue(held) for held in more.values()],
        )
        read: dict[str, list[Any]] = {}
        failed: dict[str, str] = {}
        for key, documents in zip(wanted, found[: len(wanted)], strict=True):
            if isinstance(documents, ReadError):
                failed[key] = documents.reason
            else:
                read[key] = documents
        continued = {
            key: documents
            for key, documents in zip(more, found[len(wanted) :], strict=True)
            if not isinstance(documents, ReadError)
        }
        return read, failed, continued

    async def _read(self, url: str) -> list[Any] | ReadError:
        try:
            first = await self._get(url)
        except ReadError as error:
            return error
        if first.get("resourceType") == "OperationOutcome":
            return ReadError("the FHIR server answered with an OperationOutcome")
        return await self._continue([first])

    async def _continue(self, documents: Sequence[Any]) -> list[Any]:
        """Follow pages; one that cannot be had keeps its link, which the count remarks on."""
        done: list[Any] = []
        seen: set[str] = set()
        waiting = list(documents)
        while waiting:
            document = waiting.pop(0)
            url = self._allowed(_next(document))
            if url is None or url in seen or len(seen) >= MOST_PAGES:
                done.append(document)
                continue
            seen.add(url)
            try:
                page = await self._get(url)
            except ReadError:
                page = {}
            if page.get("resourceType") != "Bundle":
                done.append(document)
                continue
            done.append(_without_next(document))
            waiting.insert(0, page)
        return done

    def _allowed(self, link: str) -> str | None:
        """Return a next page's address if it is within the server's base, without dots."""
        if not link:
            return None
        try:
            url = urljoin(self._base + "/", link)
            parts, base = urlsplit(url), urlsplit(self._base)
            same = (parts.scheme, parts.netloc) == (base.scheme, base.netloc)
        except ValueError:
            return None
        below = parts.path == base.path or parts.path.startswith(base.path.rstrip("/") + "/")
        plain = not any(step in (".", "..") for step in parts.path.replace("%2e", ".").replace(
            "%2E", ".").split("/"))  # fmt: skip
        return url if same and below and plain else None

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout_at(self._end):
                body = await self._download(url)
                found = (
                    await asyncio.to_thread(_parse, body) if len(body) > _INLINE else _parse(body)
                )
        except TimeoutError:
            raise ReadError("the FHIR server did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReadError(f"the FHIR server cannot be read ({type(error).__name__})") from None
        if not isinstance(found, dict):
            raise ReadError("the FHIR server did not answer with a FHIR resource")
        return found

    async def _download(self, url: str) -> bytes:
        async with self._client.stream("GET", url, headers=self._headers) as answer:
            if answer.status_code != 200:
                raise ReadError(f"the FHIR server answered with status {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise ReadError("the FHIR server compressed its answer although not asked to")
            return b"".join([part async for part in self._bounded(answer)])

    async def _bounded(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        async for part in answer.aiter_raw():
            self._left -= len(part)
            if self._left < 0:
                raise ReadError(f"the FHIR server sent more than {MOST_BYTES:,} bytes")
            yield part


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ReadError("the FHIR server's answer is not JSON") from None


def _next(document: Any) -> str:
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        return ""
    links = [mapping(link) for link in items(document.get("link"))]
    return next((text(link.get("url")) for link in links if link.get("relation") == "next"), "")


def _without_next(bundle: dict[str, Any]) -> dict[str, Any]:
    links = [link for link in items(bundle.get("link")) if mapping(link).get("relation") != "next"]
    return {**bundle, "link": links}
