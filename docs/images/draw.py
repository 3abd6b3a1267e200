"""Draw the documentation's figures: of the evidence, and of what the ranges mean.

Run by ``make figures``. The fits to the evidence (response after ketamine, all raters) show
what the estimators and their figures do; the clinical model, which also uses raters,
infusions and priors, is another one. ``range.svg`` is of the clinical model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

import ketacast
from ketacast import BinomialMetaRegression, MetaRegression
from ketacast.clinical.artifact import load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import clinic_rates, quantiles
from ketacast.effects import proportion_effect
from ketacast.evidence import load_evidence
from ketacast.plots import (
    bubble_plot,
    forest_plot,
    funnel_plot,
    leave_one_out_plot,
    profile_plot,
    save,
)
from ketacast.plots.canvas import BLUE, FONT, GREY, INK, SMALL, VERMILION, describe, new_figure
from ketacast.updating import Batch, Cell, answer_for_clinic, update_clinic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
EVIDENCE = HERE.parent.parent / "models" / "ketamine-trd" / "evidence"
RATERS = {"self": "self-rated", "clinician": "clinician-rated", "unclear": "rater unknown"}


def responses() -> pd.DataFrame:
    """Give the response counts that the model is made of, by author and year."""
    evidence = load_evidence(EVIDENCE)
    rows = evidence.to_frame("outcomes")
    rows = rows[(rows["outcome"] == "response") & (rows["model_use"] == "primary")]
    cohorts = evidence.to_frame("cohorts").set_index("cohort_id")
    names = [_name(cohorts, one) for one in rows["cohort_id"]]
    table = pd.DataFrame(
        {
            "events": rows["events"].to_numpy(dtype=np.float64),
            "n": rows["n"].to_numpy(dtype=np.float64),
            "infusions": rows["infusions"].to_numpy(dtype=np.float64),
            "rating": [RATERS[one] for one in rows["scorer"]],
        },
        index=names,
    )
    repeated = table.index.duplicated(keep=False)
    table.index = [
        f"{name} ({cohort})" if again else name
        for name, cohort, again in zip(names, rows["cohort_id"], repeated, strict=True)
    ]
    return table


def _name(cohorts: pd.DataFrame, cohort: str) -> str:
    row: Any = cohorts.loc[cohort]
    return f"{row['first_author']} {row['year']}" if row["first_author"] else cohort


#: Failed trials, infusions and rater of the figure of ranges, and the level of its ranges.
TRIALS: Final = 6
INFUSIONS: Final = 6
RATER: Final = "self"
LEVEL: Final = 0.8
#: The example clinic of own-results.md.
CLINIC = tuple(
    Batch(
        label,
        tuple(
            Cell(band, 6, "self", "all_treated", n, responders, remitters)
            for band, n, responders, remitters in rows
        ),
    )
    for label, rows in (
        ("2025-Q3", (((2, 4), 9, 5, 3), ((5, 8), 11, 5, 2))),
        ("2025-Q4", (((2, 4), 8, 4, 2), ((5, 8), 12, 6, 3))),
    )
)
#: Width of a column of dots, of 100 patients.
COLUMN = 2.0


def range_figure() -> Figure:
    """Draw 100 possible clinics and the three ranges of the model below them."""
    artifact = load_artifact(None)
    rates = clinic_rates(
        load_draws(artifact), coding_of(artifact), TRIALS, INFUSIONS, RATER, new_clinic=True
    )
    clinics = 100.0 * quantiles(rates.response, (np.arange(100) + 0.5) / 100)
    estimate = ketacast.predict(
        failed_trials=TRIALS, infusions=INFUSIONS, rated_by=RATER, levels=(LEVEL,)
    ).response
    clinic = update_clinic(artifact, CLINIC)
    own = answer_for_clinic(
        artifact, clinic,
        failed_trials=(TRIALS, TRIALS), infusions=INFUSIONS, rated_by=RATER, levels=(LEVEL,),
    ).response  # fmt: skip
    seen = sum(cell.responders or 0 for cell in clinic.cells)
    rows = [
        ("a new clinic", "not yet seen", estimate.new_clinic[LEVEL], estimate.expected, BLUE),
        ("the average clinic", "in the middle of all", estimate.average_clinic[LEVEL], None, GREY),
        (
            "this clinic",
            f"after {seen} responders of {clinic.n}",
            own.this_clinic[LEVEL],
            own.expected,
            VERMILION,
        ),
    ]
    figure = new_figure(7.2, 4.6)
    dots, bars = figure.subplots(2, 1, sharex=True, height_ratios=(1.25, 1.0))
    _dots(dots, clinics, estimate.new_clinic[LEVEL])
    _bars(bars, rows)
    said = [
        f"{name.capitalize()}, {note}: {_bounds(bounds)} of 100." for name, note, bounds, *_ in rows
    ]
    text = (
        f"100 clinics and three ranges: response of 100 patients with {TRIALS} failed trials, "
        f"{INFUSIONS} infusions, self-rated.\n"
        "Each dot is the rate of a clinic that could be yours. "
        f"80 of the 100 dots lie in the {100 * LEVEL:.0f} % range of a new clinic. "
    )
    return describe(figure, text + " ".join(said))


def _bounds(bounds: Any) -> str:
    return f"{100 * bounds.low:.0f} to {100 * bounds.high:.0f}"


def _dots(axes: Axes, clinics: Any, likely: Any) -> None:
    columns = np.floor(clinics / COLUMN)
    height = np.array([np.sum(columns[:i] == one) for i, one in enumerate(columns)]) + 0.5
    at = (columns + 0.5) * COLUMN
    inside = (clinics >= 100 * likely.low) & (clinics <= 100 * likely.high)
    for chosen, face in ((inside, BLUE), (~inside, "white")):
        axes.scatter(at[chosen], height[chosen], s=36, c=face, edgecolors=BLUE, linewidths=0.9)
    axes.set_ylim(0, height.max() + 2.2)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_title(
        "100 clinics that could be yours, each with its own rate", fontsize=FONT, color=INK,
        loc="left",
    )  # fmt: skip
    for number, place, side in (
        (int(np.sum(clinics < 100 * likely.low)), 100 * likely.low - 1.5, "right"),
        (int(inside.sum()), 50 * (likely.low + likely.high), "center"),
        (int(np.sum(clinics > 100 * likely.high)), 100 * likely.high + 1.5, "left"),
    ):
        axes.text(
            place, height.max() + 1.0, f"{number} clinics", ha=side, fontsize=SMALL, color=INK
        )
    for edge in likely:
        axes.axvline(100 * edge, color=BLUE, linewidth=0.8, linestyle=":")


def _bars(axes: Axes, rows: list[Any]) -> None:
    for place, (name, note, bounds, expected, colour) in enumerate(reversed(rows)):
        low, high = 100 * bounds.low, 100 * bounds.high
        axes.plot([low, high], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
        if expected is not None:
            axes.plot(100 * expected, place, "o", color="white", markersize=4)
        axes.text(high + 1.5, place, f"{low:.0f} to {high:.0f}", va="center", fontsize=FONT)
        axes.text(-1, place + 0.13, name, ha="right", va="center", fontsize=FONT, color=INK)
        axes.text(-1, place - 0.2, note, ha="right", va="center", fontsize=SMALL, color=GREY)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.set_xlabel(
        f"patients in response, of 100 ({100 * LEVEL:.0f} % ranges; white: expected)",
        fontsize=FONT, color=INK,
    )  # fmt: skip


def main() -> None:
    """Write all figures beside this file."""
    save(range_figure(), HERE / "range.svg")
    table = responses()
    sizes = proportion_effect(table["events"], table["n"], "PLO")
    counts = BinomialMetaRegression().fit(None, table["events"], n=table["n"])
    logits = MetaRegression().fit(
        None, pd.Series(sizes.yi, table.index), sampling_variance=sizes.vi
    )
    known = table.dropna()
    rated = BinomialMetaRegression().fit(
        known[["infusions", "rating"]], known["events"], n=known["n"]
    )
    percent = "Response, %"
    drawn = {
        "forest": forest_plot(counts, transform="logit", order="effect", effect_label=percent),
        "bubble": bubble_plot(
            rated,
            "infusions",
            at={"rating": "clinician-rated"},
            transform="logit",
            effect_label=percent,
        ),
        "factor": bubble_plot(rated, "rating", transform="logit", effect_label=percent),
        "funnel": funnel_plot(logits, egger=True, effect_label="Logit of response"),
        "leave-one-out": leave_one_out_plot(counts, transform="logit", effect_label=percent),
        "profile": profile_plot(logits),
    }
    for name, figure in drawn.items():
        save(figure, HERE / f"response-{name}.svg")


if __name__ == "__main__":
    main()
