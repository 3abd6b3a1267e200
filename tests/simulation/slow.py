"""A slow simulator of its own, one patient after the other, in plain Python.

It shares nothing with the engines: no automaton, no weekly tables, no classes. Patients
have a propensity of their own, statuses come from the latent normal variable, and the
loss of response happens at a time of day that is found by solving for the hazard.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

NORMAL = NormalDist()


@dataclass
class Clinic:
    """Rates after infusions 1 to 8 (response, remission), w, and the Weibull in days."""

    rates: Sequence[tuple[float, float]]
    w: float
    scale: float
    shape: float
    ratio: Mapping[str, float]


@dataclass
class Life:
    """What happened to one patient."""

    in_response: list[tuple[float, float]] = field(default_factory=list)
    infusions: list[float] = field(default_factory=list)
    relapses: int = 0
    reinductions: int = 0
    ended: str = "N"
    dropped: bool = False


def course(rng: random.Random, clinic: Clinic, plan: Mapping[str, Any], life: Life) -> float:
    """Give infusions until a rule or the patient ends it; return the last one's day."""
    z = rng.gauss(0.0, 1.0)
    history = ""
    while True:
        number = len(history) + 1
        day = math.floor(7 * (number - 1) / plan["per_week"])
        life.infusions.append(day)
        response, remission = clinic.rates[min(number, 8) - 1]
        latent = math.sqrt(clinic.w) * z + math.sqrt(1.0 - clinic.w) * rng.gauss(0.0, 1.0)
        letter = "N"
        if latent <= NORMAL.inv_cdf(remission):
            letter = "M"
        elif latent <= NORMAL.inv_cdf(response):
            letter = "R"
        history += letter
        life.ended = letter
        if number == plan["stop_after"] and set(history[-plan["look_back"] :]) == {"N"}:
            return float(day)
        if number >= plan["infusions"] and (number >= plan["extend_to"] or letter == "M"):
            return float(day)
        following = math.floor(7 * number / plan["per_week"])
        if rng.random() < plan["dropout"]:
            life.dropped = True
            return float(day)
        if letter != "N":
            life.in_response.append((day, following))


def afterwards(
    rng: random.Random, clinic: Clinic, plan: Mapping[str, Any], life: Life, start: float
) -> None:
    """Follow a responder from the last infusion to the horizon."""
    cared, left = not life.dropped, plan["times"]
    ratio = clinic.ratio["responders" if life.ended == "R" else "remitters"] * plan["multiplier"]
    while start < plan["horizon"]:
        need = rng.expovariate(1.0)  # cumulative hazard at which the response is lost
        spent, low, lost = 0.0, 0.0, None
        while lost is None and start + low < plan["horizon"]:
            # To the end of the calendar week, at which patients may leave maintenance.
            high = 7.0 * (math.floor((start + low) / 7.0) + 1.0) - start
            own = ratio if cared else 1.0
            part = own * (
                (high / clinic.scale) ** clinic.shape - (low / clinic.scale) ** clinic.shape
            )
            if spent + part >= need:
                rest = (need - spent) / own + (low / clinic.scale) ** clinic.shape
                lost = start + clinic.scale * rest ** (1.0 / clinic.shape)
                break
            spent, before, low = spent + part, low, high
            if cared and rng.random() < plan["leave"]:
                cared = False
            every = 7.0 * plan["every"]
            if cared and high // every > before // every:
                life.infusions.append(start + high)
        life.in_response.append((start, min(lost or math.inf, plan["horizon"])))
        if lost is None:
            return
        life.relapses += 1
        if not cared or left == 0:
            return
        left -= 1
        life.reinductions += 1
        week = 7.0 * math.ceil(lost / 7.0)
        life.infusions.extend([week] * plan["again"])
        start = week + 7.0 * plan["again_weeks"]
        if start > plan["horizon"] or rng.random() >= plan["success"]:
            return


def simulate(seed: int, patients: int, clinic: Clinic, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and standard error of what the engines report, at the horizon."""
    rng = random.Random(seed)  # noqa: S311  # a simulation
    lives = []
    for _ in range(patients):
        life = Life()
        last = course(rng, clinic, plan, life)
        if life.ended != "N":
            afterwards(rng, clinic, plan, life, last)
        lives.append(life)
    horizon = plan["horizon"]
    values = {
        "weeks_in_response": [
            sum(min(high, horizon) - low for low, high in one.in_response) / 7.0 for one in lives
        ],
        "infusions": [float(len(one.infusions)) for one in lives],
        "ended_in_response": [float(one.ended != "N") for one in lives],
        "ended_in_remission": [float(one.ended == "M") for one in lives],
        "dropouts": [float(one.dropped) for one in lives],
        "relapses": [float(one.relapses) for one in lives],
        "reinductions": [float(one.reinductions) for one in lives],
        "response": [
            float(any(low < horizon <= high for low, high in one.in_response)) for one in lives
        ],
    }
    found = {}
    for name, each in values.items():
        mean = math.fsum(each) / patients
        variance = math.fsum((value - mean) ** 2 for value in each) / patients
        found[name] = (mean, math.sqrt(variance / patients))
    return found
