"""Figures of simulated strategies: trajectories, comparison, drivers, acceptability.

Each strategy has a colour, a line style and a marker of its own; the text equivalent says
what is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.errors import InputError
from ketacast.plots.canvas import (
    BLUE,
    GREY,
    INK,
    RULE,
    SMALL,
    VERMILION,
    caption,
    describe,
    legend,
    literal,
    new_figure,
    style_axes,
)
from ketacast.simulation.economics import effect_of, net_benefit
from ketacast.simulation.swings import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from ketacast.simulation.results import SimulationResult

#: Okabe and Ito's palette (2008), the colours that stand out on white.
COLOURS: Final = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK, GREY)
LINES: Final = ("-", "--", "-.", ":")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
MOST_DRAWN: Final = 8
LONGEST_TORNADO: Final = 10

TITLES: Final = {
    "response": "in response, of 100 patients",
    "in_course": "whose course goes on, of 100 patients",
    "weeks_in_response": "weeks in response, per patient",
    "weeks_in_remission": "weeks in remission, per patient",
    "infusions": "infusions, per patient",
    "ended_in_response": "course ended in response, of 100 patients",
    "ended_in_remission": "course ended in remission, of 100 patients",
    "dropouts": "left the course early, of 100 patients",
    "relapses": "losses of response, per 100 patients",
    "reinductions": "re-inductions, per 100 patients",
    "cost": "cost per patient",
    "qalys": "QALYs per patient",
}
_OF_100: Final = {
    "response", "in_course", "ended_in_response", "ended_in_remission", "dropouts", "relapses",
    "reinductions",
}  # fmt: skip


def trajectories_figure(result: SimulationResult, outcome: str = "response") -> Figure:
    """Draw an outcome of every strategy over the weeks, with its range over draws.

    Parameters
    ----------
    result : SimulationResult
        Of at most eight strategies.
    outcome : str

    Returns
    -------
    matplotlib.figure.Figure
        Its label is what is drawn, in words.

    Raises
    ------
    InputError
        For an outcome that the result does not have, or more strategies.
    MissingDependencyError
        If matplotlib is not installed.
    """
    _check_number(result)
    level, scale = min(result.specification.levels), _scale(outcome)
    weeks = np.arange(result.specification.horizon_weeks + 1)
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    told = [f"{_title(result, outcome)} by week, mean and {100 * level:g} % range over draws."]
    handles, lowest = [], 0.0
    for place, name in enumerate(result.strategies):
        draws = scale * np.stack([result.at(name, outcome, int(week)) for week in weeks], axis=1)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        lowest = min(lowest, 1.05 * float(low.min()))  # QALYs can be negative
        colour = COLOURS[place]
        axes.fill_between(weeks, low, high, color=colour, alpha=0.12, linewidth=0)
        handles += axes.plot(
            weeks, draws.mean(axis=0), color=colour, linestyle=LINES[place % 4],
            marker=MARKERS[place], markevery=max(1, weeks.size // 8), markersize=4,
            label=literal(name),
        )  # fmt: skip
        told.append(
            f"{name}: at week {weeks[-1]} {draws[:, -1].mean():.3g} ({low[-1]:.3g} to "
            f"{high[-1]:.3g})."
        )
    title = literal(_title(result, outcome))
    style_axes(axes, xlabel="weeks from the first infusion", ylabel=title)
    axes.set_xlim(0, int(weeks[-1]))
    axes.set_ylim(bottom=min(0.0, lowest))
    legend(figure, handles, 2)
    caption(figure, [f"Bands: {100 * level:g} % of the model's draws."], 90)
    return describe(figure, " ".join(told))


def comparison_figure(
    result: SimulationResult, outcome: str = "weeks_in_response", reference: str | None = None
) -> Figure:
    """Draw the differences of strategies from a reference, with ranges and probabilities.

    Raises
    ------
    InputError
        With one strategy, or for an unknown outcome or reference.
    """
    if len(result.strategies) < 2:
        raise InputError("there is one strategy; a comparison needs two or more")
    levels, scale = sorted(result.specification.levels), _scale(outcome)
    frame = result.differences(reference)
    result.at(result.strategies[0], outcome)  # refuses an outcome that is not there
    rows = frame[
        (frame["outcome"] == outcome) & (frame["week"] == result.specification.horizon_weeks)
    ]
    base = str(rows["reference"].iloc[0])
    figure = new_figure(7.0, 1.4 + 0.5 * len(rows))
    axes = figure.subplots()
    week = result.specification.horizon_weeks
    told = [f"{_title(result, outcome)} at week {week}, compared with {base}."]
    labels = []
    for place, (_, row) in enumerate(rows.iterrows()):
        for level, width in zip(levels, (4.0, 1.2), strict=False):
            percent = f"{100 * level:g}".replace(".", "_")
            ends = [scale * row[f"low_{percent}"], scale * row[f"high_{percent}"]]
            axes.plot(ends, [place, place], color=BLUE, linewidth=width, solid_capstyle="butt")
        axes.plot(scale * row["mean"], place, "o", color=INK, markersize=6)
        percent = f"{100 * levels[0]:g}".replace(".", "_")
        better = row["probability_better"]
        chance = "" if np.isnan(better) else f"\nbetter with probability {better:.2f}"
        labels.append(f"{literal(row['strategy'])}{chance}")
        told.append(
            f"{row['strategy']}: {scale * row['mean']:+.3g} ({scale * row[f'low_{percent}']:+.3g} "
            f"to {scale * row[f'high_{percent}']:+.3g}){chance.replace(chr(10), ', ')}."
        )
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    style_axes(axes, xlabel=literal(f"{_title(result, outcome)}, more than with {base}"))
    axes.set_yticks(range(len(labels)), labels, fontsize=SMALL)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    shown = " and ".join(f"{100 * level:g} %" for level in levels[:2])
    caption(figure, [f"Thick and thin: {shown} of the model's draws; dot: mean."], 90)
    return describe(figure, " ".join(told))


def tornado_figure(
    result: SimulationResult,
    outcome: str = "weeks_in_response",
    strategy: str | None = None,
    reference: str | None = None,
    model: Path | str | None = None,
) -> Figure:
    """Draw what drives the uncertainty; see :func:`ketacast.simulation.swings.drivers`."""
    frame = drivers(result, outcome, strategy, reference, model).head(LONGEST_TORNADO)
    name = strategy or result.strategies[-1]
    scale = _scale(outcome)
    centre = result.at(name, outcome).mean()
    if reference is not None:
        centre -= result.at(reference, outcome).mean()
    figure = new_figure(7.0, 1.2 + 0.32 * len(frame))
    axes = figure.subplots()
    told = [f"What drives {_title(result, outcome)} with {name}, mean {scale * centre:.3g}."]
    for place, (_, row) in enumerate(frame.iterrows()):
        for end, colour, hatch in (("low", BLUE, ""), ("high", VERMILION, "///")):
            axes.barh(
                place, scale * (row[end] - centre), left=scale * centre, height=0.7, color=colour,
                hatch=hatch, edgecolor="white", linewidth=0.4,
            )  # fmt: skip
        told.append(f"{row['parameter']}: {scale * row['low']:.3g} where it is low, "
                    f"{scale * row['high']:.3g} where it is high.")  # fmt: skip
    axes.axvline(scale * centre, color=INK, linewidth=0.8)
    more = "" if reference is None else f", more than with {reference}"
    label = f"{_title(result, outcome)}\n{name}{more}"
    style_axes(axes, xlabel=literal(label))
    axes.set_yticks(range(len(frame)), frame["parameter"].tolist(), fontsize=SMALL)
    axes.set_ylim(len(frame) - 0.5, -0.5)
    caption(
        figure,
        [
            "Mean over the fifth of draws where a parameter is lowest (plain), highest (hatched).",
            "Parameters vary together, so that the bars do not add up.",
        ],
        90,
    )
    return describe(figure, " ".join(told))


def acceptability_figure(result: SimulationResult) -> Figure:
    """Draw how often each strategy has the highest net benefit, by willingness to pay.

    Raises
    ------
    InputError
        Without costs or thresholds, or with more than eight strategies.
    """
    _check_number(result)
    frame = net_benefit(result)
    costs = result.specification.costs
    assert costs is not None  # noqa: S101  # net_benefit refuses without
    unit = "QALY" if effect_of(result) == "qalys" else "week in response"
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    told = [f"Probability of the highest net benefit by {costs.currency} per {unit}."]
    handles = []
    for place, name in enumerate(result.strategies):
        rows = frame[frame["strategy"] == name]
        handles += axes.plot(
            rows["threshold"], rows["probability_best"], color=COLOURS[place],
            linestyle=LINES[place % 4], marker=MARKERS[place], markersize=4, label=literal(name),
        )  # fmt: skip
        last = rows.iloc[-1]
        told.append(f"{name}: {last['probability_best']:.2f} at {last['threshold']:,.0f}.")
    style_axes(
        axes,
        xlabel=literal(f"{costs.currency} per {unit}"),
        ylabel="probability of the highest net benefit",
    )
    axes.set_ylim(0, 1)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    legend(figure, handles, 2)
    caption(figure, ["Costs, utilities and thresholds are the user's."], 90)
    return describe(figure, " ".join(told))


def _scale(outcome: str) -> float:
    return 100.0 if outcome in _OF_100 else 1.0


def _title(result: SimulationResult, outcome: str) -> str:
    costs = result.specification.costs
    unit = f" ({costs.currency})" if outcome == "cost" and costs else ""
    return f"{TITLES.get(outcome, outcome)}{unit}"


def _check_number(result: SimulationResult) -> None:
    if len(result.strategies) > MOST_DRAWN:
        raise InputError(
            f"there are {len(result.strategies)} strategies; a figure tells at most {MOST_DRAWN} "
            "apart: run fewer together"
        )
