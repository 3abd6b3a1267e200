"""The client for scripts and notebooks."""

from __future__ import annotations

import time
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
from ketacast.client.simulations import Simulations
from ketacast.options import Rater

if TYPE_CHECKING:
    import ssl

    import pyarrow as pa  # type: ignore[import-untyped]  # it has no types

T = TypeVar("T")


class Client:
    """Asks a ketacast service.

    Parameters
    ----------
    base_url : str
        Where the service is.
    token : str, optional
        API key or JWT; by default that of the environment variable KETACAST_TOKEN. It is
        sent in a header only and shown nowhere.
    timeout : float
        Seconds for one attempt, its answer included.
    retries : int
        Further attempts where the service is busy (429, 503), and only then: an attempt
        that broke off may have been recorded.
    longest_wait : float
        Seconds from the first attempt after which none begins.
    allow_plain_http : bool
        Whether a token may be sent over http to another machine.
    ssl_context : ssl.SSLContext, optional
        For a certificate authority of your own.

    Raises
    ------
    InputError
        If a setting cannot be used.
    MissingDependencyError
        If httpx is not installed.

    Attributes
    ----------
    simulations : Simulations
        Simulations that the service runs.

    Notes
    -----
    Every method raises :class:`InputError` for a value of the wrong type,
    :class:`ServiceAnswerError` where the service refuses or answers something else than was
    asked, and :class:`ConnectionFailedError` where no complete answer comes.

    Examples
    --------
    >>> with Client("https://ketacast.example.org") as client:  # doctest: +SKIP
    ...     answer = client.predict(failed_trials=6, infusions=6, rated_by="self")
    >>> answer.prediction.response.new_clinic[0.8]  # doctest: +SKIP
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
        self._http = import_httpx().Client(**self._core.options(ssl_context))
        self.simulations = Simulations(self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._core.base_url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        *,
        failed_trials: int | Sequence[int],
        infusions: int,
        rated_by: Rater,
        levels: Sequence[float] | None = None,
        so_far: str = "",
        clinic: ClinicGiven | None = None,
    ) -> ServedPrediction:
        """Predict for one patient, as :func:`ketacast.predict` does.

        Parameters
        ----------
        failed_trials : int or (int, int)
            Adequate failed antidepressant trials, or the lowest and highest number.
        infusions : int
            Planned in all.
        rated_by : {"self", "clinician", "unknown"}
            Who rates.
        levels : sequence of float, optional
            Of the ranges; 0.8 and 0.95 by default.
        so_far : str
            With a course under way: a letter for each infusion given.
        clinic : str, mapping or Clinic, optional
            Id of a stored clinic, or a profile, which is sent along and not stored.

        Returns
        -------
        ServedPrediction
        """
        return self._run(
            operations.predict(
                failed_trials, infusions, rated_by, levels=levels, so_far=so_far, clinic=clinic
            )
        )

    def predict_many(
        self,
        failed_trials: batches.Column,
        infusions: batches.Column,
        rated_by: batches.Column,
        levels: Sequence[float] | None = None,
    ) -> batches.ServedBatch:
        """Predict for many patients at once.

        Parameters
        ----------
        failed_trials, infusions, rated_by : sequence or one value
            One entry per patient; a single value stands for all.
        levels : sequence of float, optional
            Of the ranges; 0.8 and 0.95 by default.

        Returns
        -------
        ServedBatch
            Refused rows are listed in its ``errors`` and have no numbers.
        """
        return self._run(batches.predict_many(failed_trials, infusions, rated_by, levels))

    def predict_table(self, table: pa.Table, levels: Sequence[float] | None = None) -> pa.Table:
        """Predict for many patients in a table, faster than `predict_many` above 100,000.

        Parameters
        ----------
        table : pyarrow.Table
            With the columns ``failed_trials``, ``infusions`` and ``rated_by``.
        levels : sequence of float, optional
            Of the ranges; 0.8 and 0.95 by default.

        Returns
        -------
        pyarrow.Table
            A row for each row; ``error`` says why one was refused. Model, basis and
            warnings are in the schema's metadata.

        Raises
        ------
        MissingDependencyError
            If pyarrow is not installed.
        """
        return self._run(tables.predict_table(table, levels))

    def recall(self, id: str) -> Record:  # noqa: A002  # the service's own word
        """Return what was answered before."""
        return self._run(operations.recall(id))

    def model(self) -> dict[str, Any]:
        """Return the model: identity, coefficients, basis, support."""
        return self._run(operations.document("/v1/model"))

    def card(self) -> dict[str, Any]:
        """Return the model card as data."""
        return self._run(operations.document("/v1/model/card"))

    def card_text(self, form: operations.CardText = "markdown") -> str:
        """Return the model card for people."""
        return self._run(operations.card_text(form))

    def source_attributes(self) -> dict[str, Any]:
        """Return the 31 source attributes of the model."""
        return self._run(operations.document("/v1/model/source-attributes"))

    def evidence(
        self, table: str = "cohorts", **filters: operations.Filter
    ) -> list[dict[str, Any]]:
        """Return rows of the evidence: ``evidence("outcomes", outcome="response")``."""
        return self._run(operations.evidence(table, filters))

    def create_clinic(self, label: str = "") -> ServedClinic:
        """Make a clinic without counts."""
        return self._run(operations.create_clinic(label))

    def add_outcomes(
        self,
        clinic: str,
        batches: Sequence[Mapping[str, Any]],
        repeated: operations.Repeated = "refuse",
    ) -> ServedClinic:
        """Add counts to a clinic and learn from all of them.

        Parameters
        ----------
        clinic : str
            Its id.
        batches : sequence of mappings
            ``{"batch": "2026-Q1", "cells": [{"failed_trials": [4, 8], ...}]}``.
        repeated : {"refuse", "add"}
            What to do with a batch that was sent before.
        """
        return self._run(operations.add_outcomes(clinic, batches, repeated))

    def clinic(self, clinic: str) -> ServedClinic:
        """Return what is known of a clinic."""
        return self._run(operations.clinic(clinic))

    def clinic_profile(self, clinic: str) -> bytes:
        """Return a clinic's profile: the bytes of a file for ``ketacast predict --clinic``."""
        return self._run(operations.clinic_profile(clinic))

    def is_ready(self) -> bool:
        """Return whether the service answers predictions now; False where it is not reached."""
        try:
            return self._run(operations.readiness())
        except ConnectionFailedError:
            return False

    def version(self) -> dict[str, Any]:
        """Return the versions of the service and its model."""
        return self._run(operations.document("/version"))

    def _run(self, operation: Operation[T]) -> T:
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
                time.sleep(step.seconds)
                answer = None
            else:
                answer = self._send(step.request, request_id)

    def _send(self, request: Request, request_id: str) -> Answer:
        taken = Taking(request, request_id, self._core.timeout)
        arguments = self._core.arguments(request, request_id)
        with taken, self._http.stream(**arguments) as response:
            taken.begin(response.status_code, response.headers)
            for part in response.iter_bytes():
                taken.add(part)
        return taken.answer()
