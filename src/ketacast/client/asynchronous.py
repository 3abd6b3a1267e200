"""The same client for asyncio; what each method does is said in :class:`Client`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ketacast.client import batches, operations, tables
from ketacast.client.answers import Record, ServedClinic, ServedPrediction
from ketacast.client.asking import ClinicGiven
from ketacast.client.core import (
    Taking,
    checked,
    import_httpx,
    new_request_id,
)
from ketacast.client.errors import ConnectionFailedError
from ketacast.client.exchange import Answer, Operation, Request, Wait
from ketacast.client.simulations import AsyncSimulations
from ketacast.options import Rater

if TYPE_CHECKING:
    import ssl

    import pyarrow as pa  # type: ignore[import-untyped]  # it has no types

T = TypeVar("T")


class AsyncClient:
    """Asks a ketacast service without blocking; settings as those of :class:`Client`.

    Raises
    ------
    InputError
        If a setting cannot be used.
    MissingDependencyError
        If httpx is not installed.

    Examples
    --------
    >>> async with AsyncClient("https://ketacast.example.org") as client:  # doctest: +SKIP
    ...     answer = await client.predict(failed_trials=6, infusions=6, rated_by="self")
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        timeout: float = 10.0,
        retries: int = 4,
        *,
        longest_wait: float = 60.0,
        allow_plain_http: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._core = checked(
            base_url, token, timeout, retries, longest_wait, allow_plain_http=allow_plain_http
        )
        self._http = import_httpx().AsyncClient(**self._core.options(ssl_context))
        self.simulations = AsyncSimulations(self._run)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self._core.base_url!r})"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self,
        *,
        failed_trials: int | Sequence[int],
        infusions: int,
        rated_by: Rater,
        levels: Sequence[float] | None = None,
        so_far: str = "",
        clinic: ClinicGiven | None = None,
    ) -> ServedPrediction:
        """Predict for one patient; see :meth:`Client.predict`."""
        return await self._run(
            operations.predict(
                failed_trials, infusions, rated_by, levels=levels, so_far=so_far, clinic=clinic
            )
        )

    async def predict_many(
        self,
        failed_trials: batches.Column,
        infusions: batches.Column,
        rated_by: batches.Column,
        levels: Sequence[float] | None = None,
    ) -> batches.ServedBatch:
        """Predict for many patients at once; see :meth:`Client.predict_many`."""
        return await self._run(batches.predict_many(failed_trials, infusions, rated_by, levels))

    async def predict_table(
        self, table: pa.Table, levels: Sequence[float] | None = None
    ) -> pa.Table:
        """Predict for many patients in a table; see :meth:`Client.predict_table`."""
        return await self._run(tables.predict_table(table, levels))

    async def recall(self, id: str) -> Record:  # noqa: A002  # the service's own word
        """Return what was answered before."""
        return await self._run(operations.recall(id))

    async def model(self) -> dict[str, Any]:
        """Return the model: identity, coefficients, basis, support."""
        return await self._run(operations.document("/v1/model"))

    async def card(self) -> dict[str, Any]:
        """Return the model card as data."""
        return await self._run(operations.document("/v1/model/card"))

    async def card_text(self, form: operations.CardText = "markdown") -> str:
        """Return the model card for people."""
        return await self._run(operations.card_text(form))

    async def source_attributes(self) -> dict[str, Any]:
        """Return the 31 source attributes of the model."""
        return await self._run(operations.document("/v1/model/source-attributes"))

    async def evidence(
        self, table: str = "cohorts", **filters: operations.Filter
    ) -> list[dict[str, Any]]:
        """Return rows of the evidence; see :meth:`Client.evidence`."""
        return await self._run(operations.evidence(table, filters))

    async def create_clinic(self, label: str = "") -> ServedClinic:
        """Make a clinic without counts."""
        return await self._run(operations.create_clinic(label))

    async def add_outcomes(
        self,
        clinic: str,
        batches: Sequence[Mapping[str, Any]],
        repeated: operations.Repeated = "refuse",
    ) -> ServedClinic:
        """Add counts to a clinic; see :meth:`Client.add_outcomes`."""
        return await self._run(operations.add_outcomes(clinic, batches, repeated))

    async def clinic(self, clinic: str) -> ServedClinic:
        """Return what is known of a clinic."""
        return await self._run(operations.clinic(clinic))

    async def clinic_profile(self, clinic: str) -> bytes:
        """Return a clinic's profile; see :meth:`Client.clinic_profile`."""
        return await self._run(operations.clinic_profile(clinic))

    async def is_ready(self) -> bool:
        """Return whether the service answers predictions now; False where it is not reached."""
        try:
            return await self._run(operations.readiness())
        except ConnectionFailedError:
            return False

    async def version(self) -> dict[str, Any]:
        """Return the versions of the service and its model."""
        return await self._run(operations.document("/version"))

    async def _run(self, operation: Operation[T]) -> T:
        steps = self._core.exchange(operation)
        request_id = new_request_id()
        answer: Answer | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                answer = None
            else:
                answer = await self._send(step.request, request_id)

    async def _send(self, request: Request, request_id: str) -> Answer:
        taken = Taking(request, request_id, self._core.timeout)
        arguments = self._core.arguments(request, request_id)
        with taken:
            async with self._http.stream(**arguments) as response:
                taken.begin(response.status_code, response.headers)
                async for part in response.aiter_bytes():
                    taken.add(part)
        return taken.answer()
