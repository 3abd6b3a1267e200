"""A small electronic health record: what a CDS Hooks client does, over HTTP.

Discovery, prefetch templates filled from a chart, signed calls, cards checked and shown
as text, and feedback.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from tests.ehr.charts import PATIENT, bundle
from tests.ehr.searching import answer
from tests.ehr.signing import Signer

Json = dict[str, Any]

_TOKEN: Final = re.compile(r"\{\{([^}]*)\}\}")
_USER: Final = "Practitioner/dr-1"


class NotConformingError(Exception):
    """The service broke a rule that a client relies on."""


@dataclass
class MiniEhr:
    """A client with one chart open.

    Attributes
    ----------
    url : str
        Base of the service.
    chart : list
        Resources of the patient.
    patient : str
        Id of the patient.
    signer : Signer or None
        Signs each call.
    audience : str or None
        Base that tokens name; the service's by default.
    user : str
        Who looks at the chart.
    """

    url: str
    chart: list[Json]
    patient: str = PATIENT
    signer: Signer | None = None
    audience: str | None = None
    user: str = _USER
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def close(self) -> None:
        """Let go of connections."""
        self.http.close()

    def services(self) -> list[Json]:
        """Discover the services."""
        path = "/cds-services"
        reply = self.http.get(self.url + path, headers=self.headers(path))
        reply.raise_for_status()
        found: list[Json] = reply.json()["services"]
        return found

    def service(self, hook: str) -> Json:
        """Return the service of a hook."""
        return next(service for service in self.services() if service["hook"] == hook)

    def headers(self, path: str) -> dict[str, str]:
        """Return the headers of a call."""
        if self.signer is None:
            return {}
        token = self.signer.token((self.audience or self.url) + path)
        return {"Authorization": f"Bearer {token}"}

    def context(self, hook: str, orders: list[Json], selected: list[str] | None) -> Json:
        """Return the context of a hook."""
        found: Json = {"userId": self.user, "patientId": self.patient}
        if hook == "patient-view":
            return found
        found["draftOrders"] = bundle(orders, "collection")
        if hook == "order-select":
            names = [f"{order['resourceType']}/{order['id']}" for order in orders]
            found["selections"] = names if selected is None else selected
        return found

    def prefetch(self, templates: dict[str, str], context: Json) -> Json:
        """Fill templates and look them up in the chart; None where there is nothing."""
        return {
            key: answer(self.fill(text, context), self.chart) for key, text in templates.items()
        }

    def fill(self, template: str, context: Json) -> str:
        """Fill a template; other tokens than context fields and the user are no tokens of 2.0."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            found = context.get(name.removeprefix("context."))
            if not name.startswith("context.") or not isinstance(found, (str, int, float)):
                raise NotConformingError(f"token {name!r} is no field of the context")
            return str(found)

        return _TOKEN.sub(value, template)

    def request(
        self, hook: str, orders: list[Json] | None = None, selected: list[str] | None = None,
        without: tuple[str, ...] = (), **more: Any,
    ) -> Json:  # fmt: skip
        """Return the body of a call."""
        service = self.service(hook)
        context = self.context(hook, orders or [], selected)
        wanted = {
            key: text for key, text in service.get("prefetch", {}).items() if key not in without
        }
        return {
            "hook": hook, "hookInstance": str(uuid.uuid4()), "context": context,
            "prefetch": self.prefetch(wanted, context), **more,
        }  # fmt: skip

    def post(self, hook: str, body: Json) -> httpx.Response:
        """Call the service of a hook."""
        path = f"/cds-services/{self.service(hook)['id']}"
        return self.http.post(self.url + path, json=body, headers=self.headers(path))

    def fire(self, hook: str, orders: list[Json] | None = None, **more: Any) -> list[Json]:
        """Fire a hook and return the cards, each checked."""
        reply = self.post(hook, self.request(hook, orders, **more))
        reply.raise_for_status()
        cards: list[Json] = reply.json()["cards"]
        for card in cards:
            check_card(card)
        return cards

    def dismiss(self, hook: str, card: Json, reason: str | None, comment: str | None) -> int:
        """Override a card; return the status."""
        entry: Json = {
            "card": card["uuid"], "outcome": "overridden",
            "outcomeTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        chosen = [given for given in card.get("overrideReasons", []) if given["code"] == reason]
        override: Json = {}
        if chosen:
            override["reason"] = {name: chosen[0][name] for name in ("system", "code")}
        if comment:
            override["userComment"] = comment
        if override:
            entry["overrideReason"] = override
        path = f"/cds-services/{self.service(hook)['id']}/feedback"
        reply = self.http.post(
            self.url + path, json={"feedback": [entry]}, headers=self.headers(path)
        )
        return reply.status_code


def check_card(card: Json) -> None:
    """Check a card as a client would before it shows it.

    Raises
    ------
    NotConformingError
        If it breaks a rule.
    """
    _check_filled(card)
    if not 0 < len(card["summary"]) < 140 or "\n" in card["summary"]:
        raise NotConformingError("summary is not one line of less than 140 characters")
    if card["indicator"] not in ("info", "warning", "critical"):
        raise NotConformingError(f"indicator {card['indicator']!r}")
    if not card["source"]["label"]:
        raise NotConformingError("source without label")
    for reason in card.get("overrideReasons", []):
        if not {"code", "system", "display"} <= set(reason):
            raise NotConformingError("override reason without code, system or display")
    for link in card.get("links", []):
        if link["type"] == "absolute" and "appContext" in link:
            raise NotConformingError("appContext on an absolute link")
        if not link["url"].startswith("http"):
            raise NotConformingError("link that is no address")
    uuid.UUID(card["uuid"])


def _check_filled(value: object, place: str = "card") -> None:
    if value is None or value in ("", [], {}):
        raise NotConformingError(f"{place} is null or empty")
    parts = value.items() if isinstance(value, dict) else enumerate(value) if (
        isinstance(value, list)) else ()  # fmt: skip
    for name, part in parts:
        _check_filled(part, f"{place}/{name}")


def shown(card: Json) -> str:
    """Return a card as text: its Markdown without signs, tables as rows."""
    lines = [card["summary"]]
    for line in card.get("detail", "").splitlines():
        if re.fullmatch(r"[|\-]+", line):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        text = "   ".join(cells) if line.startswith("|") else line
        lines.append(re.sub(r"\\(.)", r"\1", text.replace("**", "")))
    return "\n".join(lines)
