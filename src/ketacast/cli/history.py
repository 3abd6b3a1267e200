"""Command ``history count``: failed trials from a medication history, and what follows."""

from __future__ import annotations

import argparse
import json
import textwrap
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, cast

from ketacast.errors import InputError
from ketacast.history import (
    ChartRater,
    CountingRules,
    HistoryCount,
    count_failed_trials,
    count_failed_trials_in_table,
    rater_from_chart,
    read_table,
)
from ketacast.history.text import WIDTH, count_lines
from ketacast.options import RATERS, Rater, check_choice

DEFAULT_INFUSIONS = 6


class _Answer(NamedTuple):
    history: HistoryCount
    rater: ChartRater
    infusions: int
    assumed: tuple[str, ...]


def count(options: argparse.Namespace) -> int:
    """Run ``ketacast history count``."""
    # The library never looks at the clock; the command does, once.
    as_of = options.as_of or date.today().isoformat()
    rules = CountingRules.from_toml(options.rules) if options.rules else CountingRules()
    if bool(options.files) == bool(options.table):
        raise InputError(
            f"{len(options.files)} FHIR files and {'a' if options.table else 'no'} table are "
            "given; give FHIR files, or --table FILE.csv"
        )
    if options.table:
        history = count_failed_trials_in_table(
            read_table(options.table), as_of=as_of, rules=rules, own_count=options.own_count
        )
        chart_rater = ChartRater("unknown", "a table holds no scores")
    else:
        resources = [_read_json(path) for path in options.files]
        history = count_failed_trials(
            resources,
            as_of=as_of,
            rules=rules,
            own_count=options.own_count,
            patient=options.patient,
        )
        chart_rater = rater_from_chart(resources, as_of=as_of, patient=options.patient)
    _print(_answer(options, history, chart_rater), options)
    return 0


def _read_json(path: str) -> Any:
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a FHIR JSON file") from error
    except (ValueError, RecursionError) as error:
        name, what = Path(path).name, str(error)[:80]
        raise InputError(f"{name} is not JSON ({what}); give FHIR R4 as JSON") from error
    if isinstance(content, list):
        return {"resourceType": "Bundle", "entry": [{"resource": part} for part in content]}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"{Path(path).name} holds {kind}; give a FHIR Bundle or resources")
    return content


def _answer(options: argparse.Namespace, history: HistoryCount, chart_rater: ChartRater) -> _Answer:
    """Settle what the prediction is for, and say what was not given but assumed."""
    assumed = []
    infusions = options.infusions
    if infusions is None:
        infusions = DEFAULT_INFUSIONS
        assumed.append(f"{infusions} infusions are assumed; give --infusions")
    given = options.rated_by or "chart"
    check_choice("--rated-by", given, (*RATERS, "chart"))
    rater = chart_rater
    if given != "chart":
        rater = ChartRater(cast("Rater", given), "as given")
    elif options.rated_by is None:
        assumed.append(f"rated by {rater.rater}: {rater.reason}; give --rated-by")
    return _Answer(history, rater, infusions, tuple(assumed))


def _print(answer: _Answer, options: argparse.Namespace) -> None:
    from ketacast.cli.answer import painter  # noqa: PLC0415  # needs the predictor
    from ketacast.prediction_text import prediction_lines  # noqa: PLC0415
    from ketacast.predictor import load_predictor  # noqa: PLC0415

    history = answer.history
    prediction = None
    if history.has_data:
        prediction = load_predictor(options.model).predict(
            history.failed_trials, answer.infusions, answer.rater.rater
        )
    if options.json:
        document = {
            "history": history.to_dict(),
            "rater": answer.rater.to_dict(),
            "assumed": list(answer.assumed),
            "prediction": None if prediction is None else prediction.to_dict(),
        }
        print(json.dumps(document, indent=2, allow_nan=False))
        return
    print("\n".join([*count_lines(history), ""]))
    if prediction is None:
        # A prediction for no failed trials would be an answer from no data.
        print("No prediction: the current episode has no treatment in the records.")
        print("Count yourself and give --own-count.")
        return
    said = answer.assumed if options.rated_by != "chart" else (*answer.assumed, answer.rater.reason)
    for text in said:
        print("\n".join(textwrap.wrap(f"! {text}", WIDTH, subsequent_indent="  ")))
    print("\n".join(["", *prediction_lines(prediction, painter())]))
