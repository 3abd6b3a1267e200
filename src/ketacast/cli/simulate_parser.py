"""The options of ``ketacast simulate``."""

from __future__ import annotations

import argparse

from ketacast.cli.adding import Command, Commands

KINDS = ("trajectories", "comparison", "tornado", "acceptability")


def add_simulate(commands: Commands, command: Command) -> None:
    """Add the command and its parts."""
    text = "simulate what strategies bring to a cohort"
    parser = commands.add_parser("simulate", help=text, description=text.capitalize() + ".")
    parts = parser.add_subparsers(dest="part", required=True, metavar="WHAT")
    for add in (_add_run, _add_resume, _add_compare, _add_plot, _add_histories, _add_rerun):
        add(parts, command)


def _add_run(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "run",
        "run a specification and write its results",
        "  ketacast simulate run strategies.toml --out results\n"
        "  ketacast simulate run strategies.toml --out results --engine expected\n"
        "  ketacast simulate run large.toml --out results --workers 8\n"
        "  ketacast simulate run large.toml --out results --scheduler tcp://head:8786\n",
        "ketacast.cli.simulate:run",
    )
    _add_specification(parser)
    _add_out(parser)
    parser.add_argument(
        "--engine",
        choices=("expected", "counts", "individuals"),
        help="in place of the specification's",
    )
    for name, text in (
        ("draws", "draws of the model, 1 to 4096"),
        ("seed", "seed of the random numbers"),
        ("patients", "size of the cohort"),
    ):
        parser.add_argument(
            f"--{name}", type=int, metavar="N", help=f"{text}, in place of the specification's"
        )
    _add_resources(parser)
    _add_model(parser)


def _add_resume(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "resume",
        "go on with a run that was cut off",
        "  ketacast simulate resume results\n",
        "ketacast.cli.simulate:resume",
    )
    parser.add_argument("out", metavar="DIR", help="directory of the run")
    _add_resources(parser)


def _add_compare(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "compare",
        "compare the strategies of a result",
        "  ketacast simulate compare results\n"
        "  ketacast simulate compare results --reference 'six infusions' --week 12\n"
        "  ketacast simulate compare results --outcome response,infusions --csv > apart.csv\n",
        "ketacast.cli.simulate:compare",
    )
    _add_result(parser)
    parser.add_argument("--reference", metavar="NAME", help="strategy (default: the first)")
    parser.add_argument("--week", type=int, metavar="W", help="week (default: the horizon)")
    parser.add_argument(
        "--outcome",
        default="ended_in_response,weeks_in_response,infusions",
        metavar="NAME,NAME",
        help="outcomes (default ended_in_response,weeks_in_response,infusions)",
    )
    parser.add_argument("--csv", action="store_true", help="print the differences as CSV")


def _add_plot(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "plot",
        "draw a result",
        "  ketacast simulate plot results --out response.svg\n"
        "  ketacast simulate plot results --kind comparison --out weeks.svg\n"
        "  ketacast simulate plot results --kind tornado --strategy 'six infusions' --out t.png\n"
        "  ketacast simulate plot results --kind acceptability --out curve.svg\n",
        "ketacast.cli.simulate:plot",
    )
    _add_result(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="figure (.svg, .png or .pdf)")
    parser.add_argument(
        "--kind", choices=KINDS, default="trajectories", help="default trajectories"
    )
    parser.add_argument("--outcome", metavar="NAME", help="outcome, as in the result's tables")
    parser.add_argument("--strategy", metavar="NAME", help="of a tornado (default: the last)")
    parser.add_argument("--reference", metavar="NAME", help="strategy to compare with")
    _add_model(parser)


def _add_histories(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "histories",
        "write what happens to each patient, as the engine 'individuals' simulates it",
        "  ketacast simulate histories strategies.toml --patients 0:1000 --out patients.csv\n"
        "  ketacast simulate histories strategies.toml --draw 7 --out patients.parquet\n",
        "ketacast.cli.simulate:histories",
    )
    _add_specification(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="table (.csv or .parquet)")
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="draw of the model, from 0 (default 0)"
    )
    parser.add_argument(
        "--patients",
        metavar="FIRST:END",
        help="the first patient, from 0, and the one after the last (default: all)",
    )
    _add_model(parser)


def _add_rerun(parts: Commands, command: Command) -> None:
    parser = command(
        parts,
        "rerun",
        "run the specification inside a result again and compare every bit",
        "  ketacast simulate rerun results/summary.parquet\n",
        "ketacast.cli.simulate:rerun",
    )
    parser.add_argument("file", metavar="FILE", help="a Parquet file of a result, or its directory")
    _add_resources(parser)
    _add_model(parser)


def _add_specification(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "specification", metavar="SPEC", help="specification (.toml, .yaml or .json)"
    )


def _add_result(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", metavar="RESULT", help="directory of a run, or its draws.parquet")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="directory for the results; a run that was cut off there goes on",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", help="model directory (default: the package's)")


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads in each worker (default 1)"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler, as tcp://host:8786, or local (extra cluster)",
    )
    parser.add_argument(
        "--patients-at-once",
        type=int,
        default=1 << 24,
        metavar="N",
        help="patients of a task of the engine of individuals (default 16,777,216)",
    )
