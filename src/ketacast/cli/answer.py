"""Commands that answer from the model: ``predict`` and ``model show``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ketacast.errors import InputError
from ketacast.options import RATERS, Rater, check_choice
from ketacast.prediction_text import plain, prediction_lines
from ketacast.predictor import load_predictor

if TYPE_CHECKING:
    from ketacast.updating import Clinic

STYLES = {"bold": "1", "range": "36"}


def painter() -> Callable[[str, str], str]:
    """Colour on a terminal, none in a pipe or with NO_COLOR set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return plain
    return lambda text, style: f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def predict(options: argparse.Namespace) -> int:
    """Run ``ketacast predict``."""
    rated_by = _rater(options.rated_by)
    prediction = load_predictor(options.model).predict(
        _trials(options.failed_trials),
        _number("--infusions", options.infusions),
        rated_by,
        _levels(options.levels),
        so_far=options.so_far,
        clinic=_clinic(options.clinic),
    )
    if options.plot:
        from ketacast.plots import course_figure, save  # noqa: PLC0415  # matplotlib

        save(course_figure(prediction), options.plot)
    if options.json:
        print(json.dumps(prediction.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(prediction_lines(prediction, painter())))
    return 0


def _clinic(path: str | None) -> Clinic | None:
    if path is None:
        return None
    from ketacast.updating import load_clinic  # noqa: PLC0415  # if asked for

    return load_clinic(path)


def _rater(given: str | None) -> Rater:
    if given is None:
        if not sys.stdin.isatty():
            raise InputError(
                "--rated-by is missing; say self (PHQ-9, QIDS-SR, BDI), clinician (MADRS, HAM-D) "
                "or unknown: raters differ too much for a default"
            )
        print(
            "Who rates the depression scale? self / clinician / unknown: ", end="", file=sys.stderr
        )
        sys.stderr.flush()
        given = sys.stdin.readline().strip().lower()
    check_choice("--rated-by", given, RATERS)
    return given  # type: ignore[return-value]


def _trials(text: str) -> int | tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-|to|,|\.\.)\s*(\d{1,4})\s*", text)
    if found:
        return int(found[1]), int(found[2])
    return _number("--failed-trials", text)


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text):
        raise InputError(f"{name} is {text!r}; give a whole number" + (
            " or a range such as 4-8" if name == "--failed-trials" else ""
        ))  # fmt: skip
    return int(text)


def _levels(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--levels is {text!r}; give numbers such as 0.8,0.95") from error


def model_show(options: argparse.Namespace) -> int:
    """Run ``ketacast model show``."""
    from ketacast.clinical.artifact import check_draws, load_artifact  # noqa: PLC0415

    artifact = load_artifact(options.model)
    check_draws(artifact)
    content = artifact.content
    if options.json:
        shown = {key: value for key, value in content.items() if key != "table"}
        print(json.dumps(shown, indent=2, allow_nan=False))
        return 0
    evidence, draws = content["evidence"], content["draws"]
    print(f"{artifact.name} {artifact.version}: {content['model']['title']}")
    print(f"sha256 {artifact.sha256} (verified, draws too)")
    print(
        f"{evidence['cohorts']} cohorts, {evidence['patients']:,} patients, "
        f"{evidence['rows']} likelihood rows; {draws['count']:,} draws, quantile error "
        f"{draws['quantile_error']:.3f}\n"
    )
    print(f"{'':<6} {'mean':>7} {'SD':>6}   95 % interval     meaning (logit scale)")
    for entry in content["coefficients"]:
        low, high = entry["interval_95"]
        first, *rest = _wrapped(entry["meaning"], 38)
        print(
            f"{entry['name']:<6} {entry['mean']:>7.3f} {entry['sd']:>6.3f}   "
            f"{low:>6.2f} to {high:>5.2f}   {first}"
        )
        for line in rest:
            print(" " * 41 + line)
    return 0


def model_card(options: argparse.Namespace) -> int:
    """Run ``ketacast model card``."""
    from ketacast.card import load_card, render_card  # noqa: PLC0415  # YAML

    sys.stdout.write(render_card(load_card(options.model), options.format))
    return 0


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap  # noqa: PLC0415

    return textwrap.wrap(text, width)
