"""Draw the documentation's figures of the evidence: response after ketamine, all raters.

Run by ``make figures``. The fits here show what the estimators and their figures do; the
clinical model, which also uses raters, infusions and priors, is another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ketacast import BinomialMetaRegression, MetaRegression
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


def main() -> None:
    """Write all figures beside this file."""
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
