"""Speed of counting failed trials in large charts, beside parsing the same JSON.

Run: python tests/benchmarks/history.py
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from ketacast.history import count_failed_trials

ENTRIES = 10_000
GOAL_MS = 150.0
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ANTIDEPRESSANTS = (
    ("312938", "sertraline 100 MG Oral Tablet"),
    ("349332", "escitalopram 10 MG Oral Tablet"),
    ("313585", "24 HR venlafaxine 75 MG Extended Release Oral Capsule"),
    ("310385", "fluoxetine 20 MG Oral Capsule"),
    ("993541", "24 HR bupropion hydrochloride 150 MG Extended Release Oral Tablet"),
    ("314111", "mirtazapine 30 MG Oral Tablet"),
)
OTHERS = (
    ("314076", "lisinopril 10 MG Oral Tablet"),
    ("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ("312961", "simvastatin 20 MG Oral Tablet"),
    ("313782", "acetaminophen 325 MG Oral Tablet"),
)
#: Share of each type in a chart; the types of Synthea's patients with antidepressants,
#: with more medication than they have.
CHART = (
    ("Observation", 0.30),
    ("Encounter", 0.22),
    ("Procedure", 0.18),
    ("Condition", 0.10),
    ("MedicationRequest", 0.14),
    ("MedicationDispense", 0.06),
)


def medication(kind: str, number: int, rng: random.Random, share: float) -> dict[str, Any]:
    """Make an order or a dispensing as an EHR sends it."""
    code, display = rng.choice(ANTIDEPRESSANTS if rng.random() < share else OTHERS)
    day = (date(1996, 1, 1) + timedelta(days=rng.randrange(11_000))).isoformat()
    quantity = {"value": 1, "unit": "tablet"}
    dosage = {
        "sequence": 1,
        "text": "Take 1 tablet by mouth daily",
        "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity": quantity}],
    }
    supply = {"value": 30, "unit": "days", "code": "d", "system": "http://unitsofmeasure.org"}
    record: dict[str, Any] = {
        "resourceType": kind,
        "id": f"m{number}",
        "status": "completed",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": code, "display": display}],
            "text": display,
        },
        "subject": {"reference": "Patient/p1"},
        "dosageInstruction": [dosage],
    }
    if kind == "MedicationRequest":
        record |= {"intent": "order", "authoredOn": f"{day}T10:00:00+00:00"}
        record["dispenseRequest"] = {"numberOfRepeatsAllowed": 2, "expectedSupplyDuration": supply}
    else:
        record |= {"whenHandedOver": f"{day}T10:00:00Z", "daysSupply": supply}
    return record


def other(kind: str, number: int, rng: random.Random) -> dict[str, Any]:
    """Make a record that is no medication."""
    day = (date(1996, 1, 1) + timedelta(days=rng.randrange(11_000))).isoformat()
    code = str(10_000_000 + rng.randrange(400))
    coding = {"system": "http://snomed.info/sct", "code": code, "display": f"Finding {code}"}
    dates = {"Observation": "effectiveDateTime", "Condition": "onsetDateTime"}
    return {
        "resourceType": kind,
        "id": f"r{number}",
        "status": "final",
        "code": {"coding": [coding], "text": f"Finding {code}"},
        "subject": {"reference": "Patient/p1"},
        dates.get(kind, "performedDateTime"): f"{day}T10:00:00Z",
    }


def bundle(shares: tuple[tuple[str, float], ...], antidepressants: float) -> str:
    """Make a chart as JSON text, the same each time."""
    rng = random.Random(20261126)  # noqa: S311  # a chart, no secret
    kinds = rng.choices([k for k, _ in shares], [w for _, w in shares], k=ENTRIES - 1)
    entries = [{"resource": {"resourceType": "Patient", "id": "p1", "birthDate": "1970-01-01"}}]
    for number, kind in enumerate(kinds):
        is_medication = kind.startswith("Medication")
        record = (
            medication(kind, number, rng, antidepressants)
            if is_medication
            else other(kind, number, rng)
        )
        entries.append({"resource": record})
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries})


def milliseconds(task: Callable[[], object]) -> float:
    """Median processor time of one call: what else the machine does is left out."""
    times = []
    for _ in range(7):
        gc.collect()
        start = time.process_time()
        task()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def report(name: str, text: str, goal: float) -> None:
    """Print one line: time, ratio to parsing the JSON, and whether the goal is met."""
    parsing = milliseconds(lambda: json.loads(text))
    chart = json.loads(text)
    ours = milliseconds(lambda: count_failed_trials(chart, as_of="2026-11-01"))
    met = f"   <= {goal:.0f} ms: {'met' if ours <= goal else 'MISSED'}"
    print(f"{name:<44} {ours:>8.1f} ms   ratio to json.loads {ours / parsing:>6.2f}{met}")


def main() -> None:
    """Time a large chart, and the worst of its size: nothing but antidepressants."""
    report("10,000 entries, a fifth medication", bundle(CHART, 0.4), GOAL_MS)
    worst = (("MedicationRequest", 0.5), ("MedicationDispense", 0.5))
    report("10,000 entries, all antidepressants", bundle(worst, 1.0), GOAL_MS)


if __name__ == "__main__":
    main()
