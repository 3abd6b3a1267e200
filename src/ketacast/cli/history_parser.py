"""The options of ``ketacast history``."""

from __future__ import annotations

import argparse

from ketacast.cli.adding import Command, Commands


def add_history(commands: Commands, command: Command) -> argparse.ArgumentParser:
    """Add the command and its part, and return the part."""
    text = "count failed trials in a medication history"
    history = commands.add_parser("history", help=text, description=text.capitalize() + ".")
    parts = history.add_subparsers(dest="part", required=True, metavar="WHAT")
    parser = command(
        parts,
        "count",
        "count failed antidepressant trials, as a range with reasons, and predict",
        "  ketacast history count bundle.json\n"
        "  ketacast history count meds.json conditions.json --as-of 2026-03-31 --json\n"
        "  ketacast history count --table treatments.csv --infusions 8 --rated-by self\n"
        "  ketacast history count bundle.json --own-count 4-6 --rules my-rules.toml\n"
        "columns of a table: drug, dose_mg, start, end, weeks, indication, outcome, status\n",
        "ketacast.cli.history:count",
    )
    parser.add_argument(
        "files", nargs="*", metavar="BUNDLE.json", help="FHIR R4: Bundles or lists of resources"
    )
    parser.add_argument("--table", metavar="FILE.csv", help="a row for each treatment, no FHIR")
    parser.add_argument("--as-of", metavar="DATE", help="index date, as 2026-03-31 (default today)")
    parser.add_argument(
        "--own-count", metavar="N|LOW-HIGH", help="your own count, used in place of the chart's"
    )
    parser.add_argument("--rules", metavar="FILE.toml", help="rules of counting that you change")
    parser.add_argument("--patient", metavar="ID", help="leave out records of other patients")
    parser.add_argument("--infusions", type=int, metavar="N", help="planned infusions (default 6)")
    parser.add_argument(
        "--rated-by", metavar="RATER", help="self, clinician, unknown or chart (default chart)"
    )
    return parser
