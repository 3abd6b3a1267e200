"""Forged, altered and stolen credentials: what must be refused, and why.

``ATTACKS`` is a table: each row builds the headers (and the query) of a request that must
be refused with 401. The rows can also be sent to a running service that was started with
the settings of their world.
"""

from __future__ import annotations

from typing import Final

from tests.service.attacks_claims import CLAIMS, FORMS
from tests.service.attacks_keys import KEYS
from tests.service.attacks_signatures import KEYS_OF_ISSUER, SIGNATURES
from tests.service.forging import Attack

ATTACKS: Final[tuple[Attack, ...]] = (*SIGNATURES, *KEYS_OF_ISSUER, *CLAIMS, *FORMS, *KEYS)
