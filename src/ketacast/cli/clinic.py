"""Commands about a clinic's own results: ``clinic update``, ``show`` and ``drift``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from ketacast.updating import load_clinic

if TYPE_CHECKING:
    from ketacast.updating import Clinic
    from ketacast.updating.drift import Check, Drift

WIDTH = 80


def update(options: argparse.Namespace) -> int:
    """Run ``ketacast clinic update``."""
    from ketacast.clinical.fit import write_atomically  # noqa: PLC0415  # NumPy, SciPy
    from ketacast.updating import update_clinic  # noqa: PLC0415

    previous = load_clinic(options.previous) if options.previous else None
    print("updating (up to some seconds if the model is refitted)", file=sys.stderr, flush=True)
    clinic = update_clinic(
        options.model,
        options.counts,
        previous,
        label=options.label,
        repeated="add" if options.add_repeated else "refuse",
    )
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, clinic.to_json().encode("utf-8"))
    print("\n".join(_profile_lines(clinic)))
    print(f"written to {options.out}")
    return 0


def show(options: argparse.Namespace) -> int:
    """Run ``ketacast clinic show``."""
    clinic = load_clinic(options.profile)
    if options.json:
        shown = {k: v for k, v in clinic.content.items() if k not in ("draws", "table")}
        print(json.dumps(shown, indent=2, allow_nan=False))
    else:
        print("\n".join(_profile_lines(clinic)))
    return 0


def drift(options: argparse.Namespace) -> int:
    """Run ``ketacast clinic drift``."""
    from ketacast.clinical.artifact import load_artifact  # noqa: PLC0415  # NumPy
    from ketacast.updating.drift import check_drift  # noqa: PLC0415

    clinic = load_clinic(options.profile)
    found = check_drift(load_artifact(options.model), clinic.batches)
    if options.plot:
        from ketacast.plots import drift_figure, save  # noqa: PLC0415  # matplotlib

        save(drift_figure(found), options.plot)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(_drift_lines(found)))
    return 0


def study(options: argparse.Namespace) -> int:
    """Run ``ketacast clinic study``."""
    # One thread per process: the clinics are the parallel unit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ketacast.cli.progress import Progress  # noqa: PLC0415
    from ketacast.clinical.artifact import load_artifact  # noqa: PLC0415  # NumPy
    from ketacast.clinical.fit import write_atomically  # noqa: PLC0415
    from ketacast.updating.simulation import SCENARIOS, clinic_coverage_study  # noqa: PLC0415

    artifact = load_artifact(options.model)
    studies = [
        clinic_coverage_study(
            artifact,
            scenario,
            clinics=options.clinics if scenario == "model" else options.other_clinics,
            n_jobs=options.jobs,
            progress=Progress(),
        ).to_dict()
        for scenario in SCENARIOS
    ]
    document = {"model_sha256": artifact.sha256, "studies": studies}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(Path(options.out), text.encode("utf-8"))
    print(f"written to {options.out}")
    return 0


def _profile_lines(clinic: Clinic) -> list[str]:
    how = {
        "new clinic": "no counts: answers are those of a new clinic",
        "reweighted": f"the model's draws reweighted ({clinic.ess:,.0f} left in effect)",
        "refitted": "the model refitted with this clinic as one more cohort",
    }[clinic.method]
    model, own = clinic.model, f"profile {clinic.sha256[:12]}"
    count = len(clinic.batches)
    batches = f"{count} batch{'' if count == 1 else 'es'}"
    lines = [
        f"{clinic.label or 'Clinic profile'}: {clinic.n:,} patients in {batches}",
        f"  {how}",
        f"  of model {model.name} {model.version} ({model.sha256[:12]})",
        f"  {own}",
    ]
    for cell in clinic.cells:
        low, high = cell.failed_trials
        trials = f"{low}" if low == high else f"{low} to {high}"
        counted = [
            f"{'not recorded' if value is None else value} {name}"
            for name, value in (("responders", cell.responders), ("remitters", cell.remitters))
        ]
        lines += textwrap.wrap(
            f"{trials} failed trials, {cell.infusions} infusions, {cell.rated_by}-rated, "
            f"{cell.denominator.replace('_', ' ')}: {cell.n} patients, {', '.join(counted)}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    for notice in clinic.notices():
        lines += textwrap.wrap(f"! {notice.message}", WIDTH, subsequent_indent="  ")
    return lines


def _drift_lines(found: Drift) -> list[str]:
    lines = [
        f"Do the clinic's results fit the model?  {found.fits_model}",
        f"Are they unchanged over time?           {found.unchanged}",
        "",
        f"{'batch':<14} {'outcome':<10} {'so far':>12}  expected (95 % range)   p    adjusted p",
    ]
    lines.extend(
        f"{point.batch[:14]:<14} {point.outcome:<10} {_seen(point.so_far):>12}  "
        f"{_expected(point.so_far):<21}  {point.so_far.p_value:.3f}  {point.so_far.adjusted:.3f}"
        for point in found.points
    )
    lines.append("")
    lines += textwrap.wrap(
        "Each line compares all patients so far with what the model expects of a new clinic. "
        "Adjusted p allows for looking several times; below 0.05 the results do not fit. Too "
        "early to tell: so few patients that not even the most extreme results, in both "
        "directions, would have been called out.",
        WIDTH,
    )
    return lines


def _seen(check: Check) -> str:
    return f"{check.observed} of {check.patients}"


def _expected(check: Check) -> str:
    low, high = check.interval
    return f"{100 * check.expected:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"
