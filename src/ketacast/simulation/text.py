"""A result in words, for a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from ketacast.arrays import FloatArray
    from ketacast.simulation.results import SimulationResult
    from ketacast.simulation.specification import Specification

WIDTH: Final = 88

_TITLES: Final = {
    "ended_in_response": "response at the course's end, of 100",
    "ended_in_remission": "remission at the course's end, of 100",
    "response": "in response at the horizon, of 100",
    "weeks_in_response": "weeks in response",
    "weeks_in_remission": "weeks in remission",
    "infusions": "infusions",
    "relapses": "losses of response, of 100",
    "reinductions": "re-inductions, of 100",
    "dropouts": "left the course early, of 100",
    "cost": "cost",
    "qalys": "QALYs",
}
_OF_100: Final = {
    "ended_in_response", "ended_in_remission", "response", "relapses", "reinductions", "dropouts",
}  # fmt: skip


def result_text(result: SimulationResult) -> str:
    """Write a result as text: outcomes at the horizon with their ranges, and what they rest on."""
    spec = result.specification
    level = min(spec.levels)
    # A title may come from someone else: nothing in it may steer the terminal.
    head = "".join(one if one.isprintable() else " " for one in spec.title).strip()
    head = head or "Simulation of treatment courses"
    lines = [
        head,
        (
            f"{spec.patients:,} patients, {spec.horizon_weeks} weeks, engine {spec.engine}, "
            f"{spec.draws:,} draws, seed {spec.seed}"
        ),
        "",
        *textwrap.wrap(
            f"Per patient, with the {100 * level:g} % range over draws of the model"
            f"{_chance(spec)}:",
            WIDTH,
        ),
    ]
    for name, title in _TITLES.items():
        if name in result.outcomes and any(result.at(s, name).any() for s in result.strategies):
            unit = f" ({spec.costs.currency})" if name == "cost" and spec.costs else ""
            lines += ["", f"{title}{unit}"]
            lines += [_line(one, result.at(one, name), name, level) for one in result.strategies]
    if len(result.strategies) > 1:
        lines += ["", *_compared(result, level)]
    lines += ["", *_basis(result)]
    return "\n".join(lines)


def _chance(spec: Specification) -> str:
    """Say whether ranges hold the play of chance; those of the exact engine do not."""
    if spec.engine == "expected":
        return ""
    return f" and the chance of {spec.patients:,} patients"


def _line(strategy: str, draws: FloatArray, name: str, level: float) -> str:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    scale = 100.0 if name in _OF_100 else 1.0
    numbers = [_number(scale * value) for value in (float(draws.mean()), float(low), float(high))]
    return f"  {strategy[:44]:<44} {numbers[0]:>9}   ({numbers[1]} to {numbers[2]})"


def _number(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _compared(result: SimulationResult, level: float) -> list[str]:
    base = result.strategies[0]
    lines = [f"Weeks in response and infusions, compared with {base}:"]
    for name in result.strategies[1:]:
        parts = []
        for outcome, short in (("weeks_in_response", "weeks"), ("infusions", "infusions")):
            apart = result.at(name, outcome) - result.at(base, outcome)
            low, high = np.quantile(apart, [(1 - level) / 2, (1 + level) / 2])
            parts.append(f"{apart.mean():+.2f} {short} ({low:+.2f} to {high:+.2f})")
        apart = result.at(name, "weeks_in_response") - result.at(base, "weeks_in_response")
        better = float((apart > 0.0).mean() + 0.5 * (apart == 0.0).mean())
        lines += textwrap.wrap(
            f"{name}: {', '.join(parts)}; more weeks in response with probability {better:.2f}",
            WIDTH, initial_indent="  ", subsequent_indent="    ",
        )  # fmt: skip
    return lines


def _basis(result: SimulationResult) -> list[str]:
    basis = result.basis
    lines = []
    for title, texts in (
        ("Assumed by the user:", basis.assumed),
        ("Carried over:", basis.carried_over),
        ("Limits:", basis.limits),
    ):
        if texts:
            lines.append(title)
            for text in texts:
                lines += textwrap.wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    model = result.model
    lines.append(f"Model {model['name']} {model['version']} ({model['sha256'][:12]}).")
    if result.class_error:
        lines.append(
            f"Error of a share of patients from {result.specification.classes} propensity classes: "
            f"{result.class_error:.1e} at most, on average over draws."
        )
    return lines
