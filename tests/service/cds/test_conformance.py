"""Every requirement of CDS Hooks 2.0 that binds a service, asked of a running one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.ehr.charts import resistant
from tests.ehr.fhir_server import FhirServer, serving
from tests.ehr.mini_ehr import MiniEhr
from tests.ehr.signing import Signer
from tests.service.cds.checks import CHECKS, LOOKUP, ORIGIN, SOURCE, World
from tests.service.cds.conformance import PAGE, PASSED, page, requirements
from tests.service.running import running_service

PUBLIC = "http://127.0.0.1:9"
REQUIREMENTS = {one.number: one for one in requirements()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    elliptic, rsa = Signer(), Signer("https://other.example", "RS384", "r-1")
    clients = []
    for signer in (elliptic, rsa):
        path = tmp_path_factory.mktemp("keys") / "keys.json"
        path.write_text(signer.key_set(), encoding="utf-8")
        clients.append({"issuer": signer.issuer, "jwks_file": str(path)})
    with ExitStack() as stack:
        fhir = stack.enter_context(serving(FhirServer(resistant())))
        plain = stack.enter_context(running_service(rate_per_second=0, cds_fhir_servers=fhir.url))
        strict = stack.enter_context(
            running_service(
                rate_per_second=0, public_url=PUBLIC, cds_clients=json.dumps(clients),
                cors_origins=ORIGIN, cds_lookup_url=LOOKUP, cds_source_url=SOURCE,
            )
        )  # fmt: skip
        ehr = MiniEhr(plain.url, resistant())
        signed = MiniEhr(strict.url, resistant(), signer=elliptic, audience=PUBLIC)
        yield World(ehr, signed, rsa, fhir)
        ehr.close()
        signed.close()


@pytest.mark.parametrize("number", sorted(REQUIREMENTS))
def test_requirement(world: World, number: int) -> None:
    CHECKS[REQUIREMENTS[number].check](world)


def test_no_requirement_is_forgotten() -> None:
    numbers = list(REQUIREMENTS)
    assert len(numbers) == 120
    assert numbers == sorted(numbers)
    assert {one.check for one in REQUIREMENTS.values()} == set(CHECKS)


def test_the_page_is_that_of_a_run_that_passed() -> None:
    expected = page(dict.fromkeys(REQUIREMENTS, PASSED))
    assert PAGE.read_text(encoding="utf-8") == expected
