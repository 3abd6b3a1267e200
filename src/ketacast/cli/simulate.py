"""Commands that simulate strategies: ``ketacast simulate run``, ``resume``, ..."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketacast.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ketacast.simulation.results import SimulationResult
    from ketacast.simulation.specification import Specification


def run(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate run``."""
    from dataclasses import replace  # noqa: PLC0415

    from ketacast.simulation.files import load_specification  # noqa: PLC0415  # NumPy

    changes = {
        name: getattr(options, name)
        for name in ("engine", "draws", "seed", "patients")
        if getattr(options, name) is not None
    }
    specification = load_specification(options.specification)
    if changes.get("patients") and specification.cohort.counted:
        raise InputError("--patients with a cohort of counts; the counts say how many there are")
    return _simulate(options, replace(specification, **changes), options.model)


def resume(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate resume``: go on with a run that was cut off."""
    import json  # noqa: PLC0415

    from ketacast.simulation.checkpoints import read_context  # noqa: PLC0415
    from ketacast.simulation.documents import from_document  # noqa: PLC0415

    context = read_context(options.out)
    specification = from_document(json.loads(context.document))
    return _simulate(options, specification, context.model or None)


def compare(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate compare``."""
    result = _result(options.result)
    week = result.specification.horizon_weeks if options.week is None else options.week
    outcomes = options.outcome.split(",")
    for outcome in outcomes:
        result.at(result.strategies[0], outcome, week)  # refuses what is not there
    if len(result.strategies) < 2:
        raise InputError(f"{options.result} has one strategy; a comparison needs two or more")
    frame = result.differences(options.reference)
    rows = frame[(frame["week"] == week) & frame["outcome"].isin(outcomes)]
    if options.csv:
        rows.to_csv(sys.stdout, index=False)
        return 0
    level = f"{100 * min(result.specification.levels):g}"
    percent = level.replace(".", "_")
    print(f"Week {week}, compared with {rows['reference'].iloc[0]}; {level} % range over draws")
    for outcome in outcomes:
        print(f"\n{outcome}")
        for _, row in rows[rows["outcome"] == outcome].iterrows():
            print(_difference(row, percent))
    print("\nInfusions for each week in response, to the horizon:")
    for _, row in result.infusions_per_response_week().iterrows():
        print(f"  {row['strategy']:<40} {_each_week(row, percent)}")
    _print_economics(result, percent)
    return 0


def plot(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate plot``."""
    from ketacast.plots import save  # noqa: PLC0415  # matplotlib
    from ketacast.plots import simulation as figures  # noqa: PLC0415

    result = _result(options.result)
    outcome = {} if options.outcome is None else {"outcome": options.outcome}
    makers: dict[str, Callable[[], Any]] = {
        "trajectories": lambda: figures.trajectories_figure(result, **outcome),
        "comparison": lambda: figures.comparison_figure(
            result, **outcome, reference=options.reference
        ),
        "tornado": lambda: figures.tornado_figure(
            result, **outcome, strategy=options.strategy, reference=options.reference,
            model=options.model,
        ),
        "acceptability": lambda: figures.acceptability_figure(result),
    }  # fmt: skip
    save(makers[options.kind](), options.out)
    print(f"wrote {options.out}")
    return 0


def histories(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate histories``: what happens to each patient of one draw."""
    from dataclasses import replace  # noqa: PLC0415

    from ketacast.simulation.files import load_specification  # noqa: PLC0415
    from ketacast.simulation.parquet import needs_parquet  # noqa: PLC0415
    from ketacast.simulation.patients import patient_histories  # noqa: PLC0415

    out = Path(options.out)
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out is {options.out!r}; end the name in .csv or .parquet")
    if out.suffix == ".parquet":
        needs_parquet()
    specification = replace(load_specification(options.specification), engine="individuals")
    frame = patient_histories(
        specification, options.draw, _patients(options.patients), model=options.model
    )
    with out.open("wb") as file:
        if out.suffix == ".csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, index=False)
    number = len(frame) // len(specification.strategies)
    model = frame.attrs["model"]
    print(f"wrote {number:,} patients under each strategy, of draw {options.draw}, to {out}")
    print(f"Model {model['name']} {model['version']} ({model['sha256'][:12]}), by its rates and")
    print("your assumptions: simulated patients, not anybody's course.")
    return 0


def _patients(text: str | None) -> tuple[int, int] | None:
    """Read ``FIRST:END``."""
    if text is None:
        return None
    first, colon, end = text.partition(":")
    if not colon or not first.isdecimal() or not end.isdecimal():
        raise InputError(
            f"--patients is {text!r}; give the first and the one after the last, as 0:100"
        )
    return int(first), int(end)


def rerun(options: argparse.Namespace) -> int:
    """Run ``ketacast simulate rerun``: the same bits again, or say that they are not."""
    from ketacast.clinical.artifact import load_artifact  # noqa: PLC0415
    from ketacast.simulation.parquet import read_header, same_content  # noqa: PLC0415
    from ketacast.simulation.profiles import check_located, locate  # noqa: PLC0415
    from ketacast.simulation.running import simulate  # noqa: PLC0415

    file = Path(options.file)
    file = file / "draws.parquet" if file.is_dir() else file
    header = read_header(file)
    resources, model = _resources(options), load_artifact(options.model)
    if model.sha256 != header.model["sha256"]:
        raise InputError(
            f"{file} comes from the model {header.model['name']} "
            f"{header.model['version']} ({header.model['sha256'][:12]}), the model given is "
            f"{model.version} ({model.sha256[:12]}); name the old one's directory with --model"
        )
    beside = file.parent
    specification, clinics = locate(header.specification, header.clinics, beside)
    check_located(specification, clinics, beside)
    with _progress() as report:
        result = simulate(specification, model=options.model, resources=resources, report=report)
    if same_content(file, result):
        print(f"{file}: the same to the last bit")
        return 0
    print(
        f"ketacast: {file} differs from its own specification run by this ketacast "
        f"(written by {header.code}); compare the versions of ketacast, NumPy and SciPy",
        file=sys.stderr,
    )
    return 1


def _simulate(options: argparse.Namespace, specification: Specification, model: str | None) -> int:
    from ketacast.simulation.checkpoints import Checkpoint  # noqa: PLC0415
    from ketacast.simulation.files import save_specification  # noqa: PLC0415
    from ketacast.simulation.parquet import needs_parquet, write_results  # noqa: PLC0415
    from ketacast.simulation.report import write_report  # noqa: PLC0415
    from ketacast.simulation.running import simulate  # noqa: PLC0415
    from ketacast.simulation.tasks import make_context  # noqa: PLC0415

    needs_parquet()  # said before the work, not after it
    out = Path(options.out)
    resources = _resources(options)
    with _progress() as report:
        result = simulate(
            specification, model=model, resources=resources, directory=out, report=report
        )
    save_specification(specification, out / "specification.toml")
    written = [*write_results(result, out), write_report(result, out)]
    Checkpoint(out, make_context(specification, model)).clear()
    print(result)
    print(f"\nwrote {', '.join(path.name for path in written)} to {out}")
    return 0


def _resources(options: argparse.Namespace) -> Any:
    from ketacast.simulation.running import Resources  # noqa: PLC0415

    return Resources(
        workers=options.workers,
        threads=options.threads,
        scheduler=options.scheduler or "",
        patients_at_once=options.patients_at_once,
    )


def _result(path: str) -> SimulationResult:
    from ketacast.simulation.parquet import read_result  # noqa: PLC0415

    return read_result(path)


def _difference(row: Any, percent: str) -> str:
    better = row["probability_better"]
    chance = "" if _is_missing(better) else f"   better with probability {better:.2f}"
    low, high = _bounds(row, percent)
    return f"  {row['strategy']:<40} {row['mean']:>+9.3f} ({low:+.3f} to {high:+.3f}){chance}"


def _each_week(row: Any, percent: str) -> str:
    if _is_missing(row["ratio"]):
        return "no week in response"
    low, high = _bounds(row, percent)
    more = "" if _is_missing(row["extra"]) else f"; each further week {row['extra']:.2f} (of means)"
    return f"{row['ratio']:.2f} ({low:.2f} to {high:.2f}){more}"


def _bounds(row: Any, percent: str, prefix: str = "") -> tuple[float, float]:
    return row[f"{prefix}low_{percent}"], row[f"{prefix}high_{percent}"]


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124  # NaN


def _print_economics(result: SimulationResult, percent: str) -> None:
    from ketacast.simulation.economics import incremental, net_benefit  # noqa: PLC0415

    if result.specification.costs is None:
        return
    currency = result.specification.costs.currency
    print("\nExtra cost and effect:")
    for _, row in incremental(result).iterrows():
        ratio = row["ratio"]
        told = "" if _is_missing(ratio) else f"; {_amount(ratio)} {currency} each (of means)"
        cost = " to ".join(_amount(one, "+") for one in _bounds(row, percent, "cost_"))
        effect = " to ".join(f"{one:+.4f}" for one in _bounds(row, percent, "effect_"))
        print(
            f"  {row['strategy']:<40} {_amount(row['cost'], '+')} {currency} ({cost}), "
            f"{row['effect']:+.4f} {row['effect_name']} ({effect}){told}"
        )
    if result.specification.willingness_to_pay:
        print("\nProbability of the highest net benefit:")
        frame = net_benefit(result)
        for threshold in sorted(set(result.specification.willingness_to_pay)):
            print(f"  at {_amount(threshold)} {currency}:")
            for _, row in frame[frame["threshold"] == threshold].iterrows():
                print(f"    {row['strategy']:<38} {row['probability_best']:.2f}")


def _amount(value: float, sign: str = "") -> str:
    """Write an amount of money: whole from 1,000 on, with cents below."""
    return (
        f"{value:{sign},.0f}"
        if abs(value) >= 1000 or value == int(value)
        else f"{value:{sign},.2f}"
    )


class _progress:  # noqa: N801  # used like the context managers of the standard library
    """A bar with rate and remaining time on a terminal; nothing elsewhere."""

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar: Any = None
        if sys.stderr.isatty():
            try:
                from rich import progress as rich  # noqa: PLC0415
                from rich.console import Console  # noqa: PLC0415
            except ImportError:
                return self._silent
            self._bar = rich.Progress(
                rich.TextColumn("patient-courses"),
                rich.BarColumn(),
                rich.TaskProgressColumn(),
                rich.TextColumn("{task.fields[rate]}"),
                rich.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None, rate="")
            return self._shown
        return self._silent

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _shown(self, done: int, total: int) -> None:
        speed = self._bar.tasks[self._task].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bar.update(self._task, completed=done, total=total, rate=rate)

    def _silent(self, done: int, total: int) -> None:
        """Say nothing: a log has no use for it."""
