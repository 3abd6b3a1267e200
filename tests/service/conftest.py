"""One running service for the tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.service.running import Running, running_service


@pytest.fixture(scope="session")
def service() -> Iterator[Running]:
    with running_service(rate_per_second=0, cors_origins="https://ehr.example") as running:
        yield running


@pytest.fixture(scope="session")
def http(service: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client
