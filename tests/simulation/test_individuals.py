"""The engine of individuals: its random words, its two implementations, its distribution."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from ketacast.clinical.artifact import Artifact
from ketacast.simulation import individuals
from ketacast.simulation.classes import class_flows
from ketacast.simulation.engines import (
    Plan,
    individual_outcomes,
    make_plan,
    run_counts,
    run_expected,
    tally_individuals,
)
from ketacast.simulation.individuals import stack_steps
from ketacast.simulation.lives import Tally, flows_of
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.philox import patient_words, philox
from ketacast.simulation.specification import Dropout, Specification
from ketacast.simulation.tables import make_runs

Build = Callable[..., Specification]


@pytest.fixture
def plan(artifact: Artifact, build: Build) -> Plan:
    return make_plan(artifact, build(engine="individuals", dropout=Dropout(0.06, 0.05)))


def same(one: Tally, other: Tally) -> bool:
    return all(
        bool((getattr(one, name) == getattr(other, name)).all())
        for name in ("seen", "kept", "lost", "begun")
    )


def added(parts: list[Tally]) -> Tally:
    names = ("seen", "kept", "lost", "begun")
    return Tally(*(np.sum([getattr(part, name) for part in parts], axis=0) for name in names))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], words: str
) -> None:
    found = philox(np.array([counter], np.uint32), key)[0]
    assert " ".join(f"{word:08x}" for word in found) == words


@pytest.mark.usefixtures("kernel")
def test_the_compiled_words_are_those_of_numpy() -> None:
    from ketacast.simulation.kernel.words import fill, one_block  # noqa: PLC0415

    key = np.array([123456789, 4095], np.uint32)
    out = np.empty((4, 1000), np.uint32)
    for low in (0, 2**32 - 1000, 2**32, 2**40 + 5):
        wanted = patient_words(low, low + 1000, 2003, (123456789, 4095))
        fill(low, 1000, 2003, key, out)
        assert (wanted == out.T).all()
        assert one_block(low + 7, 2003, key) == tuple(wanted[7].tolist())


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dropout", [None, Dropout(0.06, 0.05), Dropout(0.3, 0.0)])
def test_both_implementations_give_the_same_bits(
    artifact: Artifact, build: Build, dropout: Dropout | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = build(engine="individuals", patients=6001, dropout=dropout)
    plan = make_plan(artifact, spec)
    fast, histories = tally_individuals(plan, 5, 0, 6001, history=True)
    plain, _ = tally_individuals(plan, 5, 0, 6001)
    monkeypatch.setattr(individuals, "has_kernel", lambda: False)
    slow, by_numpy = tally_individuals(plan, 5, 0, 6001, history=True)
    assert same(fast, slow)
    assert same(fast, plain)
    assert histories is not None
    assert by_numpy is not None
    for name in ("statuses", "codes", "weekly"):
        assert (getattr(histories, name) == getattr(by_numpy, name)).all()


@pytest.mark.usefixtures("kernel")
def test_threads_and_chunks_change_nothing(artifact: Artifact, build: Build) -> None:
    n = 1_200_000
    plan = make_plan(artifact, build(engine="individuals", patients=n, dropout=Dropout(0.06, 0.05)))
    whole, _ = tally_individuals(plan, 2, 0, n)
    for threads in (2, 3):
        assert same(whole, tally_individuals(plan, 2, 0, n, threads=threads)[0])
    edges = [0, 1, 1023, 300_000, 600_001, 1_199_999, n]
    parts = [tally_individuals(plan, 2, low, high)[0] for low, high in pairwise(edges)]
    assert same(whole, added(parts))


def test_counters_pass_two_to_the_32(artifact: Artifact, build: Build) -> None:
    plan = make_plan(artifact, build(engine="individuals", patients=2**33 + 10))
    edge = 2**32
    whole, _ = tally_individuals(plan, 1, edge - 2500, edge + 2500)
    parts = [
        tally_individuals(plan, 1, low, high)[0]
        for low, high in ((edge - 2500, edge), (edge, edge + 2500))
    ]
    assert same(whole, added(parts))
    assert whole.seen[:, :, 0].sum() == 5000


def test_histories_are_the_counts(plan: Plan) -> None:
    n = plan.specification.patients
    tally, histories = tally_individuals(plan, 4, 0, n, history=True)
    assert histories is not None
    staying, leaving = stack_steps(plan.steps, tally.seen.shape[3])
    courses, laters = flows_of(tally, staying, leaving)
    for s, (course, later) in enumerate(zip(courses, laters, strict=True)):
        ended = course.leaving[:, :, :, 1:].sum()
        assert (histories.codes[s] != 0).sum() == ended
        dropped = course.leaving[:, :, :, 1:, 2].sum()
        assert (histories.codes[s] < 0).sum() == dropped
        weekly = histories.weekly[:, s].sum(axis=0)
        assert (weekly == later.kept.sum(axis=(0, 1, 3, 4, 5))).all()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("patients", [300_000, pytest.param(10**8, marks=pytest.mark.slow)])
def test_individuals_follow_the_exact_distribution(
    artifact: Artifact, build: Build, patients: int
) -> None:
    spec = build(engine="individuals", patients=patients, dropout=Dropout(0.06, 0.05), classes=1024)
    plan = make_plan(artifact, spec)
    tally, _ = tally_individuals(plan, 7, 0, patients, threads=2)
    staying, leaving = stack_steps(plan.steps, tally.seen.shape[3])
    courses, _ = flows_of(tally, staying, leaving)
    exact = class_flows(
        plan.source.parameters([7]), plan.automata, plan.source.clinic_of_cell,
        plan.expected_patients(), dropout=plan.dropout, classes=spec.classes,
    )  # fmt: skip
    for one, other in zip(courses, exact, strict=True):
        seen = one.leaving.sum(axis=(0, 1)).ravel()
        hoped = other.leaving[0].sum(axis=0).ravel()
        assert (seen[hoped < 1e-9] == 0).all()
        keep = hoped > 5.0
        statistic = ((seen - hoped)[keep] ** 2 / hoped[keep]).sum()
        assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-4
    found = individual_outcomes(plan, 7, tally)
    occupancy = run_expected(make_plan(artifact, spec), [7])[0, 0]
    # Weeks and infusions per patient have an SD of at most 12 here.
    error = np.abs(found.mean(axis=0) - occupancy)
    assert error.max() < 5.0 * 12.0 / np.sqrt(patients) + 5e-5


def test_counts_and_individuals_have_the_same_spread(artifact: Artifact, build: Build) -> None:
    """Beyond means: the variance between cohorts of 400 is that of the counts."""
    spec = build(engine="individuals", patients=400, dropout=Dropout(0.06, 0.05), draws=32)
    plan = make_plan(artifact, spec)
    counted = run_counts(plan, range(32))
    single = np.stack(
        [
            individual_outcomes(plan, draw, tally_individuals(plan, draw, 0, 400)[0])
            for draw in range(32)
        ]
    )
    names = outcome_names(spec)
    for name in ("weeks_in_response", "infusions", "ended_in_response", "relapses"):
        place = names.index(name)
        noise = [
            ((each[:, 0] - each[:, 1])[:, :, -1, place] ** 2).mean() for each in (counted, single)
        ]
        # A ratio of mean squares of 32 (correlated over strategies) lies well within this.
        assert 0.5 < noise[0] / noise[1] < 2.0


def test_runs_cover_every_patient_once() -> None:
    cells = np.array([[3, 0, 5], [2, 1, 5]])
    runs = make_runs(cells, np.array([0, 0, 1]), 1, 15, 2)
    assert runs[:, 3].tolist() == [1, 3, 5, 7, 8, 10, 11, 13]
    assert runs[:, 4].tolist() == [3, 5, 7, 8, 10, 11, 13, 15]
    assert runs[:, 2].tolist() == [0, 2, 2, 2, 0, 1, 2, 2]
    assert runs[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
