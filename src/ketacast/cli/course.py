"""Commands about what follows a course: ``after`` and ``scores``."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from ketacast.cli.evidence import evidence_directory
from ketacast.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ketacast.clinical.durability_parts import DurabilityCurve, MaintenancePlan, Ranges
    from ketacast.clinical.symptom_scores import SymptomScores

WIDTH = 80
#: Weeks printed of a long curve.
SHOWN = (0, 1, 2, 3, 4, 6, 8, 10, 13, 17, 21, 26, 39, 52, 78, 104)


def after(options: argparse.Namespace) -> int:
    """Run ``ketacast after``."""
    from ketacast.clinical.artifact import load_artifact  # noqa: PLC0415  # NumPy
    from ketacast.clinical.course_parts import load_durability  # noqa: PLC0415
    from ketacast.clinical.durability import MAX_WEEKS  # noqa: PLC0415

    durability = load_durability(load_artifact(options.model))
    plan = _plan(options)
    horizon = durability.horizon_weeks if options.weeks is None else options.weeks
    if not 1 <= horizon <= MAX_WEEKS:
        raise InputError(f"--weeks is {horizon}; give 1 to {MAX_WEEKS:g}")
    curve = durability.curve(range(horizon + 1), plan)
    kept = durability.weeks_in_response(horizon, plan)
    if options.plot:
        from ketacast.plots import after_figure, save  # noqa: PLC0415  # matplotlib

        save(after_figure(curve), options.plot)
    if options.json:
        from dataclasses import asdict  # noqa: PLC0415

        document = {"curve": curve.to_dict(), "weeks_in_response": asdict(kept)}
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print("\n".join(_curve_lines(curve, kept, horizon)))
    return 0


def scores(options: argparse.Namespace) -> int:
    """Run ``ketacast scores``."""
    from ketacast.clinical.symptom_scores import pool_symptom_scores  # noqa: PLC0415  # NumPy
    from ketacast.evidence import load_evidence  # noqa: PLC0415

    result = pool_symptom_scores(load_evidence(evidence_directory(options.evidence)))
    if options.json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(_score_lines(result)))
    return 0


def _plan(options: argparse.Namespace) -> MaintenancePlan | None:
    from ketacast.clinical.durability_parts import MaintenancePlan  # noqa: PLC0415

    given = (options.interval_weeks, options.interval_multiplier)
    if options.maintenance == "none":
        if any(value is not None for value in given):
            raise InputError(
                "--interval-weeks and --interval-multiplier are about maintenance; add "
                "--maintenance responders or remitters"
            )
        return None
    return MaintenancePlan(options.maintenance, *given)


def _curve_lines(curve: DurabilityCurve, kept: Ranges, horizon: int) -> list[str]:
    what = {
        "": "without maintenance",
        "responders": "with maintenance\n(its effect from responders of an esketamine trial)",
        "remitters": "with maintenance\n(its effect from remitters of an esketamine trial)",
    }[curve.maintenance]
    likely, wide = (f"{100 * level:.0f} %" for level in curve.levels)
    lines = [f"Responders still in response after the course, {what}", ""]
    lines.append(
        f"{'week':>6}   of 100   a new clinic ({likely})   ({wide})     average ({likely})"
    )
    for week, share in zip(curve.weeks, curve.share, strict=True):
        if week in SHOWN or week == horizon:
            new, average = share.new_clinic, share.average_clinic
            lines.append(
                f"{week:>6g}   {100 * share.expected:>6.0f}   {_span(new[0]):>18}   "
                f"{_span(new[1]):>9}   {_span(average[0]):>15}"
            )
    low, high = kept.new_clinic[0]
    lines += [
        "",
        (
            f"Weeks in response of the first {horizon}: about {kept.expected:.0f} "
            f"({likely} range of a new clinic {low:.0f} to {high:.0f})"
        ),
        "",
        "Rests on:",
        *_bullets(curve.studies),
        "Limits:",
        *_bullets(curve.limits),
    ]
    if curve.assumptions:
        lines += ["Assumed by the user:", *_bullets(curve.assumptions)]
    return lines


def _score_lines(result: SymptomScores) -> list[str]:
    if result.refused:
        return textwrap.wrap(f"Nothing is pooled: {result.refused}", WIDTH)
    base = result.pooled[0]
    lines = [
        f"Pooled improvement of symptom scores, {base.k} cohorts, {base.n} patients (descriptive)",
        "",
        "assumed pre-post correlation   SDs of the change (95 % CI)   new clinic (80 %)",
    ]
    lines.extend(
        f"{one.correlation:>28g}   {one.estimate:>5.2f} ({_pair(one.ci95, 2)})"
        f"{'':>8}{_pair(one.pi[0], 2)}"
        for one in result.pooled
    )
    lines += ["", "In points (a fall of the score):"]
    said = set()
    for one in result.points:
        if one.points is not None:
            low, high = one.pi[0]
            lines.append(
                f"  {one.scale:<10} r = {one.correlation:g}: about {one.points:.0f} "
                f"(new clinic, 80 %: {low:.0f} to {high:.0f})"
            )
        elif one.scale not in said:  # the reason does not depend on r
            said.add(one.scale)
            lines += textwrap.wrap(
                f"  {one.scale:<10} {one.refused}", WIDTH, subsequent_indent=" " * 13
            )
    return [*lines, "", "Limits:", *_bullets(result.limits)]


def _bullets(texts: Sequence[str]) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    ]


def _span(pair: tuple[float, float]) -> str:
    return f"{100 * pair[0]:.0f} to {100 * pair[1]:.0f}"


def _pair(pair: tuple[float, float], digits: int) -> str:
    return f"{pair[0]:.{digits}f} to {pair[1]:.{digits}f}"
