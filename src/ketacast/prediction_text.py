"""A prediction as lines of text, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Final

from ketacast.prediction import CoursePoint, Interval, OutcomeEstimate, Prediction

WIDTH: Final = 80
RATERS: Final = {
    "self": "self-rated",
    "clinician": "clinician-rated",
    "unknown": "rater unknown",
}

Paint = Callable[[str, str], str]


def plain(text: str, style: str) -> str:
    """Leave text as it is."""
    del style
    return text


def prediction_lines(prediction: Prediction, paint: Paint = plain) -> list[str]:
    """Lay a prediction out for a terminal.

    Parameters
    ----------
    prediction : Prediction
        What to show.
    paint : callable
        Styles a text ("bold", "range", "dim"); plain by default.

    Returns
    -------
    list of str
        At most 80 columns each.
    """
    lines = [paint(_title(prediction), "bold"), ""]
    for name, estimate in (("Response", prediction.response), ("Remission", prediction.remission)):
        lines += [*_outcome(name, estimate, paint), ""]
    lines += [*_course(prediction.course), *_extended(prediction.extended), ""]
    lines += _explanation(prediction)
    for notice in prediction.warnings:
        lines += textwrap.wrap(f"! {notice.message}", WIDTH, subsequent_indent="  ")
    lines += ["", *_basis(prediction)]
    return lines


def _title(prediction: Prediction) -> str:
    low, high = prediction.inputs.failed_trials
    trials = f"{low}" if low == high else f"{low} to {high}"
    noun = "trial" if low == high == 1 else "trials"
    count = prediction.inputs.infusions
    title = (
        f"{trials} failed {noun}, {count} infusion{'s' if count > 1 else ''}, "
        f"{RATERS[prediction.inputs.rated_by]}"
    )
    statuses = prediction.inputs.so_far
    return f"{title}; after {len(statuses)}: {' '.join(statuses)}" if statuses else title


def of_100(probability: float) -> str:
    """Return a probability as a whole number of 100, the way every channel rounds it."""
    return f"{100 * probability:.0f}"


def _outcome(name: str, estimate: OutcomeEstimate, paint: Paint) -> list[str]:
    first = min(estimate.new_clinic)
    likely = estimate.new_clinic[first]
    lines = [
        paint(f"{name}: about {of_100(estimate.expected)} of 100", "bold")
        + f"   (median {of_100(estimate.median)})",
        f"{_line('a new clinic', first, likely)}  {_bar(estimate, paint)}",
    ]
    for kind, label in (("new_clinic", "a new clinic"), ("average_clinic", "average clinic")):
        intervals = getattr(estimate, kind)
        for level in intervals:
            if kind == "new_clinic" and level == first:
                continue
            bounds = intervals[level]
            lines.append(_line(label, level, bounds))
    if estimate.clinic is not None:
        own = estimate.clinic
        lines.append(
            f"  this clinic     about {of_100(own.expected)} of 100 (median {of_100(own.median)})"
        )
        lines += [_line("this clinic", level, own.this_clinic[level]) for level in own.this_clinic]
    return lines


def _line(label: str, level: float, bounds: Interval) -> str:
    low, high = of_100(bounds.low), of_100(bounds.high)
    return f"  {label:<15}{_percent(level)} range  {low:>3} to {high:>3} of 100"


def _percent(level: float) -> str:
    return f"{100 * level:>5.4g} %"


def _bar(estimate: OutcomeEstimate, paint: Paint) -> str:
    """Draw a line from 0 to 100: the likely range as `=`, the expected value as `#`."""
    bounds = estimate.new_clinic[min(estimate.new_clinic)]
    width = 26
    low, high, middle = (
        min(width - 1, int(value * width)) for value in (bounds.low, bounds.high, estimate.expected)
    )
    cells = ["=" if low <= i <= high else "." for i in range(width)]
    cells[middle] = "#"
    return "|" + paint("".join(cells), "range") + "|"


def _course(course: tuple[CoursePoint, ...]) -> list[str]:
    level = min(course[0].response.new_clinic)
    head = f"{_percent(level).strip()} range"
    lines = [f"After infusion   response of 100 ({head})   remission of 100 ({head})"]
    shown = course if len(course) <= 10 else (*course[:8], course[-1])
    return lines + [_row(f"{point.infusion}", point) for point in shown]


def _extended(points: tuple[CoursePoint, ...]) -> list[str]:
    """Rows of a longer course; infusions that change nothing more share one."""
    rows: list[list[CoursePoint]] = []
    for point in points:
        if rows and (point.response, point.remission) == (
            rows[-1][0].response,
            rows[-1][0].remission,
        ):
            rows[-1].append(point)
        else:
            rows.append([point])
    if not rows:
        return []
    lines = ["If the course were longer:"]
    for same in rows:
        first, last = same[0].infusion, same[-1].infusion
        lines.append(_row(f"{first}" if first == last else f"{first} to {last}", same[0]))
    return lines


def _row(label: str, point: CoursePoint) -> str:
    level = min(point.response.new_clinic)
    cells = []
    for estimate in (point.response, point.remission):
        bounds = estimate.new_clinic[level]
        cells.append(
            f"{of_100(estimate.expected):>3}  ({of_100(bounds.low):>2} to {of_100(bounds.high):>3})"
        )
    return f"{label:>14}   {cells[0]:<31}   {cells[1]}".rstrip()


def _explanation(prediction: Prediction) -> list[str]:
    level = _percent(min(prediction.response.new_clinic)).strip()
    if prediction.inputs.so_far:
        return textwrap.wrap(
            f"The {level} range of a new clinic says where the rate among patients with this "
            f"course so far is expected with {level} probability in a clinic not yet seen. The "
            "average clinic is one at the middle of all clinics.",
            WIDTH,
        )
    return textwrap.wrap(
        f"The {level} range of a new clinic says where the rate of a clinic not yet seen is "
        f"expected with {level} probability (the likely range). The average clinic is one at "
        "the middle of all clinics: its range shows what the evidence leaves open about the "
        "average alone.",
        WIDTH,
    )


def _basis(prediction: Prediction) -> list[str]:
    model, basis = prediction.model, prediction.basis
    own = prediction.clinic
    clinic = "" if own is None else (
        f"This clinic: {own.label or 'own results'}, {own.n:,} patients counted, {own.method} "
        f"(profile {own.sha256[:12]}). "
    )  # fmt: skip
    text = (
        f"{clinic}Model {model.name} {model.version} ({model.sha256[:12]}), from "
        f"{basis.cohorts} cohorts with {basis.patients:,} patients. Not a medical device and not "
        "advice for a patient; it says nothing on harms and does not advise to start, continue "
        "or stop."
    )
    return textwrap.wrap(text, WIDTH)
