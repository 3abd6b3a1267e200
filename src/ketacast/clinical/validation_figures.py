"""Figures of the validation page, as SVG; the same results give the same bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import stats

from ketacast.clinical.calibration import CountPrediction
from ketacast.clinical.sensitivity import FAILED_TRIALS, INFUSIONS, Variant
from ketacast.clinical.simulation import SimulationCheck
from ketacast.clinical.validation import Validation
from ketacast.errors import MissingDependencyError
from ketacast.options import OUTCOMES, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR: Final = {"response": "#0072B2", "remission": "#D55E00"}
"""Blue and vermilion of Okabe and Ito: told apart with any colour vision."""

_MARKERS: Final = ("s", "o", "^")
_GREY: Final = "#666666"
_STYLE: Final = {
    "svg.hashsalt": "ketacast",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def figures(validation: Validation) -> dict[str, bytes]:
    """Draw the figures.

    Parameters
    ----------
    validation : Validation

    Returns
    -------
    dict of str to bytes
        File name to SVG: calibration, sensitivity and, if there was a
        simulation, its ranks.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional and slow
    except ImportError as error:
        raise MissingDependencyError(
            "figures need matplotlib; install it with: pip install 'ketacast[plots]'"
        ) from error
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type, unused-ignore]
        drawn = {
            "validation-calibration.svg": _svg(_calibration(validation.rows)),
            "validation-sensitivity.svg": _svg(_sensitivity(validation)),
        }
        if validation.simulation is not None:
            drawn["validation-simulation.svg"] = _svg(_simulation(validation.simulation))
    return drawn


def _canvas(width: float, height: float, columns: int, **options: Any) -> tuple[Figure, list[Axes]]:
    # Built without pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, **options)
    return figure, list(axes[0])


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "ketacast"})
    lines = buffer.getvalue().decode("utf-8").splitlines()
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode("utf-8")


def _calibration(rows: Sequence[CountPrediction]) -> Figure:
    """Observed and predicted rate of every cohort, left out in turn."""
    tallest = max(sum(r.primary and r.outcome == o for r in rows) for o in OUTCOMES)
    figure, axes = _canvas(9.0, 1.6 + 0.24 * tallest, 2)
    for ax, outcome in zip(axes, OUTCOMES, strict=True):
        chosen = sorted(
            (row for row in rows if row.primary and row.outcome == outcome),
            key=lambda row: (row.expected_rate, row.cohort_id),
        )
        for place, row in enumerate(chosen):
            wide, narrow = row.intervals[1], row.intervals[0]
            ax.plot([wide.low / row.n, wide.high / row.n], [place] * 2, color="#BBBBBB", lw=2)
            ax.plot(
                [narrow.low / row.n, narrow.high / row.n], [place] * 2, color=COLOUR[outcome], lw=4,
                alpha=0.55, solid_capstyle="butt",
            )  # fmt: skip
            ax.plot(row.expected_rate, place, "|", color="black", ms=9)
            face = "black" if narrow.covered else "white"
            ax.plot(row.observed_rate, place, "o", color="black", mfc=face, ms=5, zorder=3)
        ax.set_yticks(range(len(chosen)), [f"{row.cohort_id} ({row.n})" for row in chosen])
        ax.set_xlim(-0.02, 1.02)
        ax.set_xlabel(f"{outcome} rate")
        ax.set_title(f"{outcome.capitalize()}: {len(chosen)} cohorts", loc="left")
        ax.grid(axis="x", color="#EEEEEE")
        ax.set_axisbelow(True)
    figure.legend(handles=_calibration_keys(), loc="outside lower center", ncols=5)
    return figure


def _calibration_keys() -> list[Any]:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    blank: dict[str, Any] = {"color": "black", "ls": "none"}
    return [
        Line2D([], [], marker="o", ms=5, label="observed, inside 80 %", **blank),
        Line2D([], [], marker="o", ms=5, mfc="white", label="observed, outside 80 %", **blank),
        Line2D([], [], marker="|", ms=9, label="predicted", **blank),
        Line2D([], [], lw=4, color=_GREY, label="80 % of counts"),
        Line2D([], [], lw=2, color="#BBBBBB", label="95 % of counts"),
    ]


def _sensitivity(validation: Validation) -> Figure:
    """Draw the expected rate and new-clinic range of every variant."""
    variants = validation.sensitivity
    figure, axes = _canvas(10.0, 1.6 + 0.36 * len(variants), 2, sharey=True)
    for ax, outcome in zip(axes, OUTCOMES, strict=True):
        for place, variant in enumerate(variants):
            _variant_bars(ax, outcome, place, variant)
        ax.set_yticks(range(len(variants)), [textwrap.fill(v.title, 36) for v in variants])
        ax.set_ylim(len(variants) - 0.4, -0.6)
        ax.set_xlim(0, 1)
        ax.set_xlabel(f"{outcome} rate")
        ax.set_title(outcome.capitalize(), loc="left")
        ax.grid(axis="x", color="#EEEEEE")
        ax.set_axisbelow(True)
    figure.suptitle(
        f"Expected rate and new-clinic 80 % range, {INFUSIONS} infusions, rater unknown",
        fontsize=10,
    )
    figure.legend(handles=_trials_keys(), loc="outside lower center", ncols=len(FAILED_TRIALS))
    return figure


def _variant_bars(ax: Axes, outcome: Outcome, place: int, variant: Variant) -> None:
    answers = [a for a in variant.answers if (a.outcome, a.rater) == (outcome, "unknown")]
    for k, answer in enumerate(answers):
        where = place + 0.24 * (k - 1)
        ax.plot([answer.low, answer.high], [where] * 2, color=COLOUR[outcome], lw=1.2)
        ax.plot(answer.expected, where, _MARKERS[k], color="black", ms=3.5)


def _trials_keys() -> list[Any]:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    return [
        Line2D(
            [], [], marker=marker, color="black", ls="none", ms=4, label=f"{failed} failed trials"
        )
        for marker, failed in zip(_MARKERS, FAILED_TRIALS, strict=True)
    ]


def _simulation(check: SimulationCheck) -> Figure:
    """Share of positions below each value, minus that value."""
    figure, axes = _canvas(7.0, 4.2, 1)
    ax = axes[0]
    n = check.replicates - check.failures
    grid = np.linspace(0.0, 1.0, 401)
    low = stats.binom.ppf(0.025, n, grid) / n - grid
    high = stats.binom.ppf(0.975, n, grid) / n - grid
    ax.fill_between(grid, low, high, color="#E6E6E6", label="95 % of uniform ranks, point by point")
    limit = float(stats.kstwo.isf(0.05 / len(check.parameters), n))
    for side in (-limit, limit):
        ax.axhline(side, color=_GREY, ls="--", lw=1)
    styles = ("-", "--", "-.", ":")
    palette = ("#0072B2", "#D55E00", "#009E73")
    for i, one in enumerate(check.parameters):
        at = np.sort(np.array(one.positions))
        curve = np.searchsorted(at, grid, side="right") / n - grid
        ax.plot(grid, curve, color=palette[i // 4 % 3], ls=styles[i % 4], lw=1.1, label=one.name)
    ax.set_xlabel("position of the true value among the posterior draws")
    ax.set_ylabel("share of positions below, minus expected share")
    ax.set_title(
        f"{n} synthetic evidence sets; dashed: 5 % limits of the largest gap over all parameters",
        loc="left", fontsize=9,
    )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure
