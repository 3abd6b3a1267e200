"""Runs: the same bits for any resources, results as files, resuming, killed workers."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ketacast.cli import main
from ketacast.clinical.artifact import Artifact
from ketacast.errors import InputError, KetacastError
from ketacast.simulation import (
    Resources,
    SimulationResult,
    read_header,
    read_result,
    simulate,
    write_results,
)
from ketacast.simulation.checkpoints import Checkpoint, read_context
from ketacast.simulation.parquet import same_content
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Maintenance, Reinduction, Stop, Strategy
from ketacast.simulation.tasks import Task, make_context, make_tasks, run_task

Build = Callable[..., Specification]

HAS_DASK = importlib.util.find_spec("distributed") is not None or os.environ.get("CI") == "true"
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="Dask is not installed")


@pytest.fixture
def spec(build: Build) -> Specification:
    return build(engine="individuals", patients=900, dropout=Dropout(0.05, 0.05), draws=6)


@pytest.fixture
def whole(spec: Specification) -> SimulationResult:
    return simulate(spec)


def test_cutting_the_cohort_changes_nothing(spec: Specification, whole: SimulationResult) -> None:
    for size in (60, 450, 899):
        some = make_tasks(spec, size)
        assert sum(task.high - task.low for task in some) == 900 * 6
        assert (
            simulate(spec, resources=Resources(patients_at_once=size)).values == whole.values
        ).all()


def test_processes_change_nothing(spec: Specification, whole: SimulationResult) -> None:
    found = simulate(spec, resources=Resources(workers=2, patients_at_once=500))
    assert (found.values == whole.values).all()
    assert found.summary().equals(whole.summary())


def test_progress_is_told_in_patient_courses(build: Build) -> None:
    reports: list[tuple[int, int]] = []
    spec = build(engine="expected", draws=70)
    simulate(spec, report=lambda done, total: reports.append((done, total)))
    assert reports == [(64_000, 70_000), (70_000, 70_000)]


def test_a_run_goes_on_where_it_was(
    spec: Specification, whole: SimulationResult, tmp_path: Path
) -> None:
    tasks = make_tasks(spec, 400)
    context = make_context(spec, None)
    checkpoint = Checkpoint(tmp_path, context)
    for task in tasks[::2]:
        checkpoint.save(task, run_task(context, task))
    damaged = tmp_path / "tasks" / f"{tasks[2].name}.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    reports: list[int] = []
    found = simulate(
        spec, resources=Resources(patients_at_once=400), directory=tmp_path,
        report=lambda done, _: reports.append(done),
    )  # fmt: skip
    assert (found.values == whole.values).all()
    assert len(reports) == len(tasks) - len(tasks[::2]) + 1
    assert read_context(tmp_path) == context


def test_a_directory_belongs_to_one_run(spec: Specification, build: Build, tmp_path: Path) -> None:
    simulate(spec, directory=tmp_path)
    with pytest.raises(InputError, match="holds another simulation"):
        simulate(build(), directory=tmp_path)
    with pytest.raises(InputError, match="holds no simulation to go on with"):
        read_context(tmp_path / "elsewhere")


def test_a_killed_process_resumes_to_the_same_bits(build: Build, tmp_path: Path) -> None:
    """Kill -9 in the middle, then `resume`: as if nothing had happened."""
    from ketacast.simulation.files import save_specification  # noqa: PLC0415

    spec = build(draws=96, patients=400)
    save_specification(spec, tmp_path / "spec.toml")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ketacast", "simulate"]
    running = subprocess.Popen(
        [*command, "run", str(tmp_path / "spec.toml"), "--out", str(out)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60.0
    while len(list((out / "tasks").glob("*.npz"))) < 2 and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    done = len(list((out / "tasks").glob("*.npz")))
    assert 2 <= done < len(make_tasks(spec))
    assert not (out / "draws.parquet").exists()
    assert main(["simulate", "resume", str(out)]) == 0
    assert (read_result(out).values == simulate(spec).values).all()
    assert not list((out / "tasks").glob("*.npz"))


@needs_dask
def test_a_killed_worker_costs_time_not_results(build: Build) -> None:
    from distributed import Client, LocalCluster  # noqa: PLC0415

    spec = build(draws=128, patients=300)
    wanted = simulate(spec)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        killed: list[int] = []

        def kill_one(done: int, total: int) -> None:
            if not killed and done >= total // 8:
                pids = client.run(os.getpid)
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        address = cluster.scheduler_address
        found = simulate(spec, resources=Resources(scheduler=address), report=kill_one)
        assert killed
        assert killed[0] not in client.run(os.getpid).values()
    assert (found.values == wanted.values).all()


@needs_dask
def test_a_scheduler_that_does_not_answer_is_named(
    spec: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed  # noqa: PLC0415

    def refuse(*_: object, **__: object) -> None:
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(InputError, match="no scheduler answers at 'tcp://nowhere:1'"):
        simulate(spec, resources=Resources(scheduler="tcp://nowhere:1"))


def test_files_hold_everything(
    spec: Specification, whole: SimulationResult, tmp_path: Path
) -> None:
    written = write_results(whole, tmp_path)
    assert [path.name for path in written] == [
        "draws.parquet", "summary.parquet", "differences.parquet",
    ]  # fmt: skip
    for path in written:
        header = read_header(path)
        assert header.specification == spec
        assert header.model["sha256"] == whole.model["sha256"]
        assert same_content(path, whole)
    again = read_result(tmp_path)
    assert (again.values == whole.values).all()
    assert again.differences().equals(whole.differences())
    altered = SimulationResult(
        spec, whole.model, whole.clinics, whole.class_error, np.nextafter(whole.values, 9.0)
    )
    assert not same_content(tmp_path / "draws.parquet", altered)
    with pytest.raises(InputError, match="holds summary; give draws"):
        read_result(tmp_path / "summary.parquet")
    (tmp_path / "other.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_header(tmp_path / "other.parquet")


def test_tables_are_tidy_and_coherent(whole: SimulationResult) -> None:
    frame = whole.summary()
    spec = whole.specification
    rows = len(spec.strategies) * (spec.horizon_weeks + 1) * len(whole.outcomes)
    assert len(frame) == rows
    assert not frame.isna().any().any()
    assert (frame["low_95"] <= frame["low_80"] + 1e-12).all()
    assert (frame["high_80"] <= frame["high_95"] + 1e-12).all()
    spread = np.hypot(frame["parameter_sd"], frame["chance_sd"])
    place = frame["outcome"] == "weeks_in_response"
    values = whole.by_draw[..., whole.outcomes.index("weeks_in_response")].std(axis=0, ddof=1)
    assert np.allclose(spread[place], np.maximum(values.ravel(), frame["chance_sd"][place]))
    apart = whole.differences("six")
    assert set(apart["reference"]) == {"six"}
    known = apart["probability_better"].dropna()
    assert known.between(0, 1).all()
    assert apart["probability_better"].isna().sum() == (apart["outcome"] == "in_course").sum()
    assert whole.to_polars().shape == frame.shape
    each = whole.infusions_per_response_week()
    assert (each["ratio"] > 0).all()
    text = str(whole)
    assert "Assumed by the user" in text
    assert "brings back a response with probability 0.5" in text
    assert "esketamine" in text


def test_chance_is_told_from_parameters(build: Build) -> None:
    """The spread over draws that cohorts of 60 show beyond the exact engine's is chance."""
    exact = simulate(build(engine="expected", draws=128, patients=60))
    drawn = simulate(build(engine="counts", draws=128, patients=60))
    for outcome in ("weeks_in_response", "ended_in_response"):
        for frame, other in ((drawn.summary(), exact.summary()),):
            pick = (frame["outcome"] == outcome) & (frame["week"] == 12)
            ratio = frame["parameter_sd"][pick] / other["parameter_sd"][pick]
            assert ratio.between(0.8, 1.2).all()
            apart = (frame["mean"] - other["mean"])[pick].abs()
            assert (apart < 4.5 * frame["mc_error"][pick]).all()
    assert (exact.summary()["mc_error"] == 0).all()


@pytest.mark.parametrize(
    ("row", "method"),
    [("2026,3,5,6,self,all_treated,100,90,70", "refitted"),
     ("2026,3,5,6,self,all_treated,12,8,5", "reweighted")],
)  # fmt: skip
def test_a_clinics_own_results_move_its_rates(
    artifact: Artifact, build: Build, tmp_path: Path, row: str, method: str
) -> None:
    from ketacast.updating.update import update_clinic  # noqa: PLC0415

    counts = tmp_path / "counts.csv"
    counts.write_text(
        "batch,failed_trials_min,failed_trials_max,infusions,rated_by,denominator,n,responders,"
        f"remitters\n{row}\n"
    )
    clinic = update_clinic(artifact, counts)
    assert clinic.method == method
    profile = tmp_path / "clinic.json"
    profile.write_text(clinic.to_json())
    own = of_clinic(build, Group(4, "self", 1.0, str(profile)))
    told = clinic.content["table"]["values"]["response"][4][5][0][0]
    mine = own.at("six", "ended_in_response").mean()
    assert mine == pytest.approx(told, abs=0.005)  # draws of unequal weight are drawn again
    new = of_clinic(build, Group(4, "self", 1.0)).at("six", "ended_in_response").mean()
    assert mine > new + 0.05
    assert own.clinics == {str(profile): clinic.sha256}


def test_several_new_clinics_differ_and_average_out(build: Build) -> None:
    one, many = (
        of_clinic(build, Group(4, "self", 1.0, "new", number)).at("six", "ended_in_response")
        for number in (1, 9)
    )
    assert many.mean() == pytest.approx(one.mean(), abs=0.005)
    assert many.std() < 0.75 * one.std()


def of_clinic(build: Build, group: Group) -> SimulationResult:
    return simulate(
        build(
            cohort=Cohort((group,), counted=False), strategies=(Strategy("six", 6),),
            engine="expected", draws=4096, horizon_weeks=4,
        )
    )  # fmt: skip


def test_bad_resources_are_refused() -> None:
    with pytest.raises(InputError, match="workers is 0"):
        Resources(workers=0)
    assert Task(0, 1, 5, 10).name == "0000-0001_0000000000005-0000000000010"


def test_a_killed_process_costs_time_not_results(build: Build) -> None:
    import multiprocessing  # noqa: PLC0415

    spec = build(draws=64, patients=300)
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        children = [one.pid for one in multiprocessing.active_children() if one.pid]
        if not killed and done < total and children:
            killed.append(children[0])
            os.kill(killed[0], signal.SIGKILL)

    found = simulate(spec, resources=Resources(workers=2), report=kill_one)
    assert killed
    assert (found.values == simulate(spec).values).all()


def test_processes_that_die_again_and_again_are_told(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    def broken(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("ketacast.simulation.running._windowed", broken)
    with pytest.raises(KetacastError, match="ended 3 times without finishing a task"):
        simulate(build(draws=64), resources=Resources(workers=2))


def test_one_draw_has_no_spread(build: Build) -> None:
    frame = simulate(build(draws=1)).summary()
    assert frame["parameter_sd"].isna().all()
    assert not frame.drop(columns="parameter_sd").isna().any().any()


@pytest.mark.parametrize("engine", ["expected", "counts", "individuals"])
@pytest.mark.parametrize("patients", [2, 3, 1001, 250_000])
def test_identical_strategies_do_not_differ_at_all(
    build: Build, engine: str, patients: int
) -> None:
    same = {
        "infusions": 6, "stop": (Stop(3),), "maintenance": Maintenance(2, 1.0),
        "reinduction": Reinduction(2, 1, 0.5),
    }  # fmt: skip
    strategies = (Strategy("a", **same), Strategy("b", **same))  # type: ignore[arg-type]
    spec = build(
        engine=engine, patients=patients, strategies=strategies, dropout=Dropout(0.05, 0.05),
        draws=3,
    )  # fmt: skip
    frame = simulate(spec).differences()
    names = ["mean", "median", "low_80", "high_95", "parameter_sd", "chance_sd", "mc_error"]
    assert (frame[names] == 0.0).all().all()
    assert (frame["probability_better"].dropna() == 0.5).all()
