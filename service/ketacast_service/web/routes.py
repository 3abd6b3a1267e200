"""``/`` and ``/page/...``: the lookup page, whole or in parts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response

from ketacast.card import load_card, render_card
from ketacast.clinical.artifact import Artifact
from ketacast.errors import InputError, KetacastError
from ketacast_service.calls import Call, Reply, call_of, to_response
from ketacast_service.errors import ProblemError
from ketacast_service.state import Service
from ketacast_service.web.answering import answer_inputs
from ketacast_service.web.assets import FOREVER, PREFIX, Asset, load_assets, pack, takes_gzip
from ketacast_service.web.basis import Basis, load_basis
from ketacast_service.web.catalogue import catalogue, choose
from ketacast_service.web.forms import MULTIPART, read_form
from ketacast_service.web.inputs import Asked, Fault, bounds_of, read_inputs
from ketacast_service.web.medications import count_list
from ketacast_service.web.rendering import Pages, View

_LOG = structlog.get_logger(__name__)
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: Posts of the page's own forms must name their origin; other sites learn nothing.
_REFERRER: Final = b"same-origin"
HTML: Final = b"text/html; charset=utf-8"
STREAMING: Final = dict.fromkeys(("/", "/page/answer", "/page/count"), MULTIPART)
"""Routes that read their own bodies, which are forms and not JSON."""

_STYLE: Final = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


def _basis(artifact: Artifact) -> Basis | None:
    try:
        return load_basis(artifact)
    except KetacastError as error:  # a model fitted elsewhere may lack its other files
        _LOG.warning("the page shows neither evidence nor validation", reason=str(error))
        return None


class LookupPage:
    """Answers the routes of the page.

    Parameters
    ----------
    service : Service
        Predicts, records, limits.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        artifact = service.predictor.artifact
        self._bounds = bounds_of(artifact.content["support"])
        self._files = load_assets()
        self._assets: Mapping[str, Asset] = {one.address: one for one in self._files.values()}
        self._directory = artifact.directory

    @cached_property
    def pages(self) -> Pages:
        """What makes the pages: half a second's work, done once the service is ready."""
        basis = _basis(self._service.predictor.artifact)
        return Pages(self._service, basis, self._files, self._bounds)

    async def show(self, request: Request, *, part: bool) -> Response:
        """Answer a look: the whole page, or the parts that change with the inputs."""
        self._refuse_foreign(request, part=part)
        call = call_of(request)
        status, headers = 200, list[tuple[bytes, bytes]]()
        given: Mapping[str, str] = {}
        problem = None
        try:
            given = await self._given(request)
        except ProblemError as error:
            problem = error
        view = self._view(request, given)
        try:
            if problem is None and view.asked.complete:
                answered = await answer_inputs(self._service, view.asked, call)
                view = replace(view, answered=answered)
                headers = [] if answered is None else answered.headers
        except ProblemError as error:
            problem = error
        if problem is not None:
            key = "busy" if problem.status >= 500 else "refused"
            view = replace(view, problem=Fault(key, detail=problem.detail))
            status = problem.status
            headers = [(name.lower().encode(), text.encode()) for name, text in problem.headers]
        elif view.asked.wrong() or (view.show_missing and view.asked.faults):
            status = 422
        make = self.pages.fragment if part else self.pages.page
        return self._html(call, make(view), status, headers)

    async def count(self, request: Request) -> Response:
        """Count failed trials in a pasted medication list; nothing of it is kept."""
        call = call_of(request)
        try:
            given = await self._given(request)
        except ProblemError as error:
            given = {}
            fault: Fault | None = Fault("list", detail=error.detail)
        else:
            fault = None
        text = given.get("medications", "")
        counted = None
        try:
            if text.strip():
                counted = await self._service.work.run(count_list, text, _today())
        except InputError as error:
            fault = Fault("list", detail=str(error))
        inputs = dict(given)
        if counted is not None and counted.history.eras:
            low, high = counted.low, counted.high
            inputs["failed_trials"] = str(low) if low == high else f"{low}-{high}"
        view = self._view(request, inputs)
        view = replace(view, medications=text, counted=counted, list_fault=fault)
        status = 422 if fault else 200
        if given.get("part"):
            return self._html(call, self.pages.count(view), status, [])
        if view.asked.complete:
            view = replace(view, answered=await answer_inputs(self._service, view.asked, call))
        return self._html(call, self.pages.page(view), status, [])

    def static(self, request: Request) -> Response:
        """Give a file of the page; its address changes with its content."""
        asset = self._assets.get(request.url.path)
        if asset is None:
            raise ProblemError("not-found", "no file of the page has this address; open / again")
        headers = [(b"content-type", asset.kind), (b"cache-control", FOREVER)]
        body = asset.body
        if takes_gzip(call_of(request).header(b"accept-encoding")):
            body = asset.packed
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"vary", b"Accept-Encoding"))
        return to_response(Reply(body, headers=headers))

    def card(self, request: Request) -> Response:
        """Give the model card as a page."""
        try:
            style = _STYLE.search(self._card)
        except KetacastError as error:
            raise ProblemError("not-found", f"this model has no card: {error}") from error
        mark = hashlib.sha256(style[1] if style else b"").digest()
        policy = (
            b"default-src 'none'; style-src 'sha256-" + base64.b64encode(mark) + b"'; "
            b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        return self._html(call_of(request), self._card, 200, [], policy)

    @cached_property
    def _card(self) -> bytes:
        return render_card(load_card(self._directory), "html").encode()

    @staticmethod
    def _refuse_foreign(request: Request, *, part: bool) -> None:
        """Let other sites link here, but not ask in the background: each answer is recorded.

        Raises
        ------
        ProblemError
            "not-allowed"; what a browser says of the request's origin cannot be forged by pages.
        """
        site = request.headers.get("sec-fetch-site", "none")
        target = request.headers.get("sec-fetch-dest", "document")
        if site not in ("same-origin", "none") and (part or target != "document"):
            raise ProblemError(
                "not-allowed",
                "pages of other sites may link to this page, not ask it; open the link",
            )

    async def _given(self, request: Request) -> Mapping[str, str]:
        if request.method != "POST":
            return request.query_params
        settings = self._service.settings
        return await read_form(request, settings.max_body_bytes, settings.body_timeout_seconds)

    def _view(self, request: Request, given: Mapping[str, str]) -> View:
        language = choose(given.get("lang"), request.headers.get("accept-language", ""))
        asked: Asked = read_inputs(given, self._bounds, posted=request.method == "POST")
        # A form that was sent names its first field, even if nothing stands in it.
        sent = asked.begun or "failed_trials" in given
        missing_is_wrong = sent and not given.get("live")
        return View(catalogue(language), asked, show_missing=missing_is_wrong)

    def _html(
        self,
        call: Call,
        body: bytes,
        status: int,
        headers: list[tuple[bytes, bytes]],
        policy: bytes = POLICY,
    ) -> Response:
        kept = [
            (b"content-type", HTML),
            (b"content-security-policy", policy),
            (b"referrer-policy", _REFERRER),
            (b"vary", b"Accept-Encoding, Accept-Language"),
            *headers,
        ]
        if takes_gzip(call.header(b"accept-encoding")):
            # The page holds no secret that its size could give away.
            body = pack(body)
            kept.append((b"content-encoding", b"gzip"))
        return to_response(Reply(body, status, kept))


def _today() -> date:
    """Return the index date of a count: the library never looks at the clock."""
    return date.today()


def router(service: Service) -> APIRouter:
    """Return the routes; none is part of the API's document."""
    routes = APIRouter(include_in_schema=False)
    page = LookupPage(service)
    service.later.append(lambda: page.pages)

    @routes.get("/")
    async def look(request: Request) -> Response:
        """Show the page, with the answer to the inputs in its address."""
        return await page.show(request, part=False)

    @routes.post("/")
    async def look_with_file(request: Request) -> Response:
        """Show the page with the answer to a posted form."""
        return await page.show(request, part=False)

    @routes.get("/page/answer")
    async def answer(request: Request) -> Response:
        """Give the parts that change with the inputs."""
        return await page.show(request, part=True)

    @routes.post("/page/answer")
    async def answer_with_file(request: Request) -> Response:
        """Give the parts that change, with a clinic's profile."""
        return await page.show(request, part=True)

    @routes.post("/page/count")
    async def count(request: Request) -> Response:
        """Count failed trials in a medication list."""
        return await page.count(request)

    @routes.get("/page/model-card")
    async def card(request: Request) -> Response:
        """Show the model card."""
        return page.card(request)

    @routes.get(PREFIX + "{name}")
    async def static(request: Request) -> Response:
        """Give a file of the page."""
        return page.static(request)

    return routes
