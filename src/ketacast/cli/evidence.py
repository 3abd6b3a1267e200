"""Commands on the evidence: ``check``, ``list``, ``show`` and ``add``."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import textwrap
from pathlib import Path

from ketacast.clinical.artifact import default_model_directory
from ketacast.errors import InputError
from ketacast.evidence import (
    Cohort,
    Evidence,
    check_additions,
    load_evidence,
    write_additions,
)


def evidence_directory(given: str | None) -> Path:
    """Return the directory asked for, else that of the package's model."""
    return Path(given) if given else default_model_directory() / "evidence"


def check(options: argparse.Namespace) -> int:
    """Run ``ketacast evidence check``."""
    where = evidence_directory(options.evidence)
    evidence = load_evidence(where)
    print(f"{where}: no faults")
    print(_counts(evidence))
    print(f"sha256 {evidence.sha256}")
    return 0


def _counts(evidence: Evidence) -> str:
    return (
        f"{len(evidence.cohorts)} cohorts ({len(evidence.primary_cohorts())} primary), "
        f"{len(evidence.outcomes)} outcome rows, {len(evidence.contrasts)} contrasts, "
        f"{len(evidence.early_change)} early-change rows, {len(evidence.relapse)} relapse rows, "
        f"{len(evidence.syntheses)} published figures"
    )


def list_cohorts(options: argparse.Namespace) -> int:
    """Run ``ketacast evidence list``."""
    evidence = load_evidence(evidence_directory(options.evidence))
    in_model = {row.cohort_id for row in evidence.outcomes if row.model_use}
    shown = [c for c in evidence.cohorts if options.all or c.cohort_id in in_model]
    print(f"{'cohort':<24} {'year':<5} {'n':>5}  {'drug, route':<24} in the model")
    for cohort in shown:
        drug = f"{cohort.drug.replace('_', ' ')}, {cohort.route}"
        size = "" if cohort.n_enrolled is None else str(cohort.n_enrolled)
        use = "yes" if cohort.cohort_id in in_model else f"no ({_reason(cohort)})"
        print(f"{cohort.cohort_id:<24} {cohort.year or '':<5} {size:>5}  {drug:<24} {use}")
    if not options.all:
        hidden = len(evidence.cohorts) - len(shown)
        print(f"{hidden} more are recorded with the reason why not: --all")
    return 0


def _reason(cohort: Cohort) -> str:
    return cohort.exclusion_reason.partition(":")[0]


def show(options: argparse.Namespace) -> int:
    """Run ``ketacast evidence show``."""
    evidence = load_evidence(evidence_directory(options.evidence))
    known = [cohort.cohort_id for cohort in evidence.cohorts]
    if options.cohort not in known:
        near = difflib.get_close_matches(options.cohort, known)
        hint = (
            f"; did you mean {', '.join(near)}?" if near else "; see `ketacast evidence list --all`"
        )
        raise InputError(f"no cohort {options.cohort!r}{hint}")
    cohort = evidence.cohort(options.cohort)
    print(f"{cohort.cohort_id}: {cohort.first_author} {cohort.year or ''}")
    _fields(cohort, skip=("cohort_id", "first_author", "year"))
    tables = (
        ("outcome", evidence.outcomes),
        ("contrast", evidence.contrasts),
        ("early change", evidence.early_change),
        ("relapse", evidence.relapse),
    )
    for label, records in tables:
        for record in records:
            if record.cohort_id == cohort.cohort_id:
                print(f"\n{label}")
                _fields(record, skip=("cohort_id", "family"))
    return 0


def _fields(record: object, skip: tuple[str, ...]) -> None:
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if field.name in skip or value is None or value == "":
            continue
        text = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        lines = textwrap.wrap(str(text), 54, break_long_words=False) or [""]
        print(f"  {field.name:<24}{lines[0]}")
        for line in lines[1:]:
            print(" " * 26 + line)


def add(options: argparse.Namespace) -> int:
    """Run ``ketacast evidence add``."""
    base = evidence_directory(options.evidence)
    files = [Path(name) for name in options.files]
    if options.out is None:
        additions = check_additions(base, files)
    else:
        additions = write_additions(base, files, Path(options.out))
    for table, rows in ((table, rows) for table, rows in additions.counts if rows):
        print(f"{table}: {rows} {'row' if rows == 1 else 'rows'} without faults")
    if options.out is None:
        print("checked only, nothing written; name a new directory with --out to write one")
    else:
        print(f"{options.out}: {_counts(additions.evidence)}")
        print(f"the base {base} is unchanged; refit with:")
        print(f"  ketacast fit --evidence {options.out} --out MODEL_DIR")
    return 0
