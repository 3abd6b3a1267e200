"""The commands, their options and their help.

Nothing heavy is imported here: a point prediction answers in a cold process
without NumPy.
"""

from __future__ import annotations

import argparse
import os

from ketacast.cli.adding import Commands
from ketacast.version import __version__

EPILOG = """\
exit codes: 0 done; 1 failed; 2 wrong input or usage; 3 faults in the evidence
or the recipe; 4 the model is missing, altered or damaged

ketacast is not a medical device and does not advise patients.
"""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Make the parser, with all commands or (a cold start counts) the one that is called."""
    parser = argparse.ArgumentParser(
        prog="ketacast",
        description="Chance of response and remission with intravenous ketamine in "
        "treatment-resistant depression, as a range, from published evidence.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ketacast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    builders = {
        "predict": _add_predict,
        "model": _add_model,
        "evidence": _add_evidence,
        "history": _add_history,
        "clinic": _add_clinic,
        "after": _add_after,
        "scores": _add_scores,
        "simulate": _add_simulate,
        "synthesis": _add_synthesis,
        "fit": _add_fit,
        "validate": _add_validate,
    }
    for name, build in builders.items():
        if command not in builders or command == name:
            build(commands)
    return parser


def _command(
    commands: Commands,
    name: str,
    text: str,
    examples: str,
    run: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", help="model directory (default: the package's)")


def _add_json_option(parser: argparse.ArgumentParser, text: str = "print as JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_predict(commands: Commands) -> None:
    parser = _command(
        commands,
        "predict",
        "predict response and remission for one patient",
        "  ketacast predict --failed-trials 6 --infusions 6 --rated-by self\n"
        "  ketacast predict --failed-trials 4-8 --infusions 4 --rated-by clinician\n"
        "  ketacast predict --failed-trials 3 --infusions 6 --rated-by unknown --json\n"
        "  ketacast predict --failed-trials 6 --infusions 6 --rated-by self --so-far NNR\n",
        "ketacast.cli.answer:predict",
    )
    parser.add_argument(
        "--failed-trials",
        required=True,
        metavar="N|LOW-HIGH",
        help="adequate failed antidepressant trials of the current episode, 0 to 20, or a range",
    )
    parser.add_argument(
        "--infusions", required=True, metavar="N", help="planned infusions, 1 to 30"
    )
    parser.add_argument(
        "--rated-by",
        metavar="RATER",
        help="self (PHQ-9, QIDS-SR, BDI), clinician (MADRS, HAM-D) or unknown; asked if missing",
    )
    parser.add_argument(
        "--so-far",
        default="",
        metavar="LETTERS",
        help="course under way: a letter per infusion given, N no response, R response, "
        "M remission, ? not known",
    )
    parser.add_argument(
        "--clinic",
        metavar="FILE",
        help="a clinic's profile (ketacast clinic update): shown beside a new clinic",
    )
    parser.add_argument(
        "--levels", default="0.8,0.95", metavar="L,L", help="interval levels (default 0.8,0.95)"
    )
    _add_json_option(parser, "print the answer as JSON")
    parser.add_argument("--plot", metavar="FILE", help="also draw the course (.svg, .png, .pdf)")
    _add_model_option(parser)


def _add_model(commands: Commands) -> None:
    model = commands.add_parser("model", help="show the model", description="Show the model.")
    parts = model.add_subparsers(dest="part", required=True, metavar="WHAT")
    show = _command(
        parts,
        "show",
        "verify the model and show its coefficients and basis",
        "  ketacast model show\n  ketacast model show --model my-model --json\n",
        "ketacast.cli.answer:model_show",
    )
    _add_model_option(show)
    _add_json_option(show)
    card = _command(
        parts,
        "card",
        "print the model card, source attributes and reporting tables",
        "  ketacast model card\n  ketacast model card --format html > card.html\n",
        "ketacast.cli.answer:model_card",
    )
    _add_model_option(card)
    card.add_argument(
        "--format",
        default="md",
        metavar="FORMAT",
        help="md (default), html, json or chai-xml",
    )


def _add_evidence(commands: Commands) -> None:
    text = "check, list, show and extend the evidence"
    evidence = commands.add_parser("evidence", help=text, description=text.capitalize() + ".")
    parts = evidence.add_subparsers(dest="part", required=True, metavar="WHAT")
    described = (
        (
            "check",
            "check all tables and report every fault",
            "  ketacast evidence check my-evidence\n",
        ),
        ("list", "list the cohorts", "  ketacast evidence list --all\n"),
        ("show", "show one cohort with all its rows", "  ketacast evidence show murrough2013\n"),
        (
            "add",
            "check rows from a paper and write a new evidence directory with them",
            (
                "  ketacast evidence add cohorts.csv outcomes.csv              (check only)\n"
                "  ketacast evidence add cohorts.csv outcomes.csv --out my-evidence\n"
                "  ketacast fit --evidence my-evidence --out my-model\n"
            ),
        ),
    )
    for name, help_text, examples in described:
        parser = _command(
            parts,
            name,
            help_text,
            examples,
            f"ketacast.cli.evidence:{name.replace('list', 'list_cohorts')}",
        )
        if name == "show":
            parser.add_argument("cohort", metavar="COHORT", help="cohort id, as listed")
        if name == "add":
            parser.add_argument(
                "files", nargs="+", metavar="FILE", help="CSV with a table's columns"
            )
            parser.add_argument("--out", metavar="DIR", help="new evidence directory to write")
        if name == "list":
            parser.add_argument("--all", action="store_true", help="also cohorts not in the model")
        if name == "check":
            parser.add_argument("evidence", nargs="?", metavar="DIR", help="evidence directory")
        else:
            parser.add_argument("--evidence", metavar="DIR", help="evidence directory")


def _add_history(commands: Commands) -> None:
    # Options of a command of its own file are read only when it is asked for.
    from ketacast.cli.history_parser import add_history  # noqa: PLC0415

    parser = add_history(commands, _command)
    _add_json_option(parser)
    _add_model_option(parser)


def _add_clinic(commands: Commands) -> None:
    text = "learn from a clinic's own results"
    clinic = commands.add_parser("clinic", help=text, description=text.capitalize() + ".")
    parts = clinic.add_subparsers(dest="part", required=True, metavar="WHAT")
    _add_clinic_update(parts)
    _add_clinic_show(parts)
    _add_clinic_drift(parts)
    _add_clinic_study(parts)


def _add_clinic_update(parts: Commands) -> None:
    parser = _command(
        parts,
        "update",
        "write a profile from counts",
        "  ketacast clinic update --counts 2026-Q1.csv --out clinic.json\n"
        "  ketacast clinic update --counts 2026-Q2.csv --previous clinic.json --out clinic.json\n"
        "columns: batch, failed_trials_min, failed_trials_max, infusions, rated_by,\n"
        "  denominator (all_treated or completers), n, responders, remitters\n",
        "ketacast.cli.clinic:update",
    )
    parser.add_argument("--counts", required=True, metavar="CSV", help="new results, counts only")
    parser.add_argument("--out", required=True, metavar="FILE", help="profile to write (JSON)")
    parser.add_argument("--previous", metavar="FILE", help="profile to go on from")
    parser.add_argument("--label", metavar="TEXT", help="free text shown with answers")
    parser.add_argument(
        "--add-repeated",
        action="store_true",
        help="add a batch even if the profile has one of that name",
    )
    _add_model_option(parser)


def _add_clinic_show(parts: Commands) -> None:
    parser = _command(
        parts,
        "show",
        "verify a profile and show its counts",
        "  ketacast clinic show clinic.json\n",
        "ketacast.cli.clinic:show",
    )
    parser.add_argument("profile", metavar="FILE", help="profile")
    _add_json_option(parser, "print as JSON, without the draws")


def _add_clinic_drift(parts: Commands) -> None:
    parser = _command(
        parts,
        "drift",
        "tell whether the clinic's results still fit the model",
        "  ketacast clinic drift clinic.json\n"
        "  ketacast clinic drift clinic.json --plot drift.svg\n",
        "ketacast.cli.clinic:drift",
    )
    parser.add_argument("profile", metavar="FILE", help="profile")
    _add_json_option(parser)
    parser.add_argument("--plot", metavar="FILE", help="also draw it (.svg, .png, .pdf)")
    _add_model_option(parser)


def _add_clinic_study(parts: Commands) -> None:
    parser = _command(
        parts,
        "study",
        "simulate clinics: how often this clinic's ranges hold",
        "  ketacast clinic study --clinics 200 --out clinic_coverage.json   (minutes)\n",
        "ketacast.cli.clinic:study",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON to write")
    parser.add_argument("--clinics", type=int, default=2000, metavar="N", help="default 2000")
    parser.add_argument(
        "--other-clinics",
        type=int,
        default=200,
        metavar="N",
        help="clinics in each scenario in which the model is wrong (default 200)",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    _add_model_option(parser)


def _add_after(commands: Commands) -> None:
    parser = _command(
        commands,
        "after",
        "show how long responders stay in response after the course",
        "  ketacast after\n"
        "  ketacast after --weeks 52 --maintenance remitters --plot after.svg\n"
        "  ketacast after --maintenance responders --interval-weeks 4 --interval-multiplier 1.5\n",
        "ketacast.cli.course:after",
    )
    parser.add_argument("--weeks", type=int, metavar="N", help="weeks followed (default 26)")
    parser.add_argument(
        "--maintenance",
        choices=("none", "responders", "remitters"),
        default="none",
        help="whose hazard ratio, transported from esketamine (default none)",
    )
    parser.add_argument(
        "--interval-weeks", type=float, metavar="W", help="weeks between maintenance treatments"
    )
    parser.add_argument(
        "--interval-multiplier",
        type=float,
        metavar="X",
        help="your assumption: hazard at that interval relative to the trial's",
    )
    _add_json_option(parser)
    parser.add_argument("--plot", metavar="FILE", help="also draw the curve (.svg, .png, .pdf)")
    _add_model_option(parser)


def _add_scores(commands: Commands) -> None:
    parser = _command(
        commands,
        "scores",
        "pool the improvement of symptom scores, in SDs and in points",
        "  ketacast scores\n  ketacast scores --json\n",
        "ketacast.cli.course:scores",
    )
    _add_json_option(parser)
    parser.add_argument("--evidence", metavar="DIR", help="evidence directory")


def _add_simulate(commands: Commands) -> None:
    # Its options are many, and a cold start of another command counts.
    from ketacast.cli.simulate_parser import add_simulate  # noqa: PLC0415

    add_simulate(commands, _command)


def _add_synthesis(commands: Commands) -> None:
    parser = _command(
        commands,
        "synthesis",
        "pool the evidence and show it beside the published synthesis",
        "  ketacast synthesis\n  ketacast synthesis --json\n",
        "ketacast.cli.research:synthesis",
    )
    _add_json_option(parser)
    parser.add_argument("--evidence", metavar="DIR", help="evidence directory")


def _add_fit(commands: Commands) -> None:
    parser = _command(
        commands,
        "fit",
        "fit the model and write artifact.json and draws.npz",
        "  ketacast fit --out my-model\n"
        "  ketacast fit --evidence my-evidence --recipe my-recipe.toml --out my-model\n",
        "ketacast.cli.research:fit",
    )
    _add_sources(parser)


def _add_validate(commands: Commands) -> None:
    parser = _command(
        commands,
        "validate",
        "validate the model and write tables and figures",
        "  ketacast validate --quick --out validation\n"
        "  ketacast validate --out validation          (with calibration; minutes)\n",
        "ketacast.cli.research:validate",
    )
    _add_sources(parser)
    parser.add_argument("--json-out", metavar="DIR", help="where validation.json goes (--out)")
    parser.add_argument("--quick", action="store_true", help="without simulated calibration")
    parser.add_argument("--replicates", type=int, default=200, metavar="N", help="default 200")
    jobs = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=jobs, metavar="N", help="processes")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--evidence", metavar="DIR", help="evidence directory")
    parser.add_argument("--recipe", metavar="FILE", help="recipe (default: the model's)")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write to")
