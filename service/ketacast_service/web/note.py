"""The answer as plain text for a note: no identifier, nothing to format."""

from __future__ import annotations

from ketacast.comparison import PlanComparison
from ketacast.prediction import Inputs, OutcomeEstimate, Prediction
from ketacast_service.web.catalogue import Catalogue


def inputs_line(t: Catalogue, inputs: Inputs, *, plan: bool = True) -> str:
    """Write the inputs in one line."""
    low, high = inputs.failed_trials
    count = str(low) if low == high else t("span", low=low, high=high)
    parts = [t("answer.trials_one" if low == high == 1 else "answer.trials", count=count)]
    if plan:
        key = "answer.infusions_one" if inputs.infusions == 1 else "answer.infusions"
        parts.append(t(key, count=inputs.infusions))
    parts.append(t(f"answer.rated_{inputs.rated_by}"))
    if inputs.so_far:
        parts.append(t("answer.so_far", statuses=" ".join(inputs.so_far)))
    return ", ".join(parts)


def note_text(t: Catalogue, prediction: Prediction, comparison: PlanComparison | None) -> str:
    """Write the text.

    Parameters
    ----------
    t : Catalogue
        The language.
    prediction : Prediction
    comparison : PlanComparison or None
        If another plan was given.
    """
    model, basis = prediction.model, prediction.basis
    lines = [t("note.head"), t("note.inputs", inputs=inputs_line(t, prediction.inputs))]
    for outcome in ("response", "remission"):
        lines += _outcome_lines(t, outcome, getattr(prediction, outcome))
    if comparison is not None:
        lines.append(_comparison_line(t, comparison))
    lines.append(t("note.limits"))
    lines += [f"- {t.notice(notice)[0]}" for notice in prediction.warnings]
    lines.append(
        t(
            "note.basis",
            name=model.name,
            version=model.version,
            hash=model.sha256[:12],
            cohorts=basis.cohorts,
            patients=t.number(basis.patients),
        )
    )
    lines.append(t("footer.is_not"))
    return "\n".join(lines)


def _outcome_lines(t: Catalogue, outcome: str, estimate: OutcomeEstimate) -> list[str]:
    level, wide = estimate.new_clinic
    lines = [
        t(
            "note.outcome",
            outcome=t(f"answer.{outcome}"),
            meaning=t(f"answer.{outcome}_is"),
            n=t.of_100(estimate.expected),
            range=t.span(estimate.new_clinic[level]),
            level=t.level(level),
            wide=t.span(estimate.new_clinic[wide]),
            wide_level=t.level(wide),
            average=t.span(estimate.average_clinic[level]),
        )
    ]
    own = estimate.clinic
    if own is not None:
        lines.append(
            t(
                "note.own",
                outcome=t(f"answer.{outcome}"),
                n=t.of_100(own.expected),
                range=t.span(own.this_clinic[level]),
                level=t.level(level),
            )
        )
    return lines


def _comparison_line(t: Catalogue, comparison: PlanComparison) -> str:
    level = min(comparison.response.new_clinic)
    return t(
        "note.compare",
        first=comparison.first.inputs.infusions,
        second=comparison.second.inputs.infusions,
        response=t.signed(comparison.response.expected),
        response_range=t.signed_span(comparison.response.new_clinic[level]),
        remission=t.signed(comparison.remission.expected),
        remission_range=t.signed_span(comparison.remission.new_clinic[level]),
        level=t.level(level),
        is_not=t("compare.is_not"),
    )
