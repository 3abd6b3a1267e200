"""One running service for the mini-EHR."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.ehr.charts import resistant
from tests.ehr.mini_ehr import MiniEhr
from tests.service.running import Running, running_service


@pytest.fixture(scope="session")
def service() -> Iterator[Running]:
    with running_service(rate_per_second=0) as running:
        yield running


@pytest.fixture
def ehr(service: Running) -> Iterator[MiniEhr]:
    client = MiniEhr(service.url, resistant())
    yield client
    client.close()
