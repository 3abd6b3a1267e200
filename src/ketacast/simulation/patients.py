"""Histories of simulated patients, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.options import shown
from ketacast.simulation.automaton import DROPPED, REASONS, Automaton
from ketacast.simulation.documents import to_document
from ketacast.simulation.engines import Plan, cohort_of, tally_individuals
from ketacast.simulation.lives import Histories
from ketacast.simulation.philox import LEAVING, patient_words
from ketacast.simulation.specification import Specification
from ketacast.simulation.strategies import LETTERS, whole
from ketacast.simulation.tables import thresholds
from ketacast.simulation.tasks import make_context, plan_of
from ketacast.version import __version__

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS: Final = 2_000_000
"""Patients times strategies of one table: some 2 GiB over two years; ask for a range at a time."""


def patient_histories(
    specification: Specification,
    draw: int = 0,
    patients: tuple[int, int] | None = None,
    *,
    model: Path | str | None = None,
) -> pd.DataFrame:
    """Simulate patients one by one and keep what happens to each.

    Parameters
    ----------
    specification : Specification
        With ``engine = "individuals"``.
    draw : int
        Which draw of the model.
    patients : (int, int), optional
        First patient, and the one after the last; all of the cohort by default. Any range
        gives the same patients.
    model : path, optional

    Returns
    -------
    DataFrame
        A row for each patient and strategy: patient, failed_trials, rated_by, clinic,
        strategy; ``infusions`` of the course that were given; ``statuses``, the letter N, R
        or M after each of them; ``ended``: "completed", "stopped" or "dropped out";
        ``in_response`` at the course's end; ``weeks``, a digit for each week's end after the
        course, 1 in response. Its ``attrs`` hold model, draw and specification; they go
        along into Parquet.

    Raises
    ------
    InputError
        For another engine, or a range that is empty, outside the cohort or too large.
    """
    if specification.engine != "individuals":
        raise InputError(
            f"engine is {specification.engine!r}, which has no histories; give 'individuals'"
        )
    whole("draw", draw, 0, specification.draws - 1)
    given = (0, specification.patients) if patients is None else patients
    if len(given) != 2 or any(type(one) is not int for one in given):
        raise InputError(
            f"patients is {shown(patients)}; give two whole numbers, first and last + 1"
        )
    low, high = given
    if not 0 <= low < high <= specification.patients:
        raise InputError(
            f"patients is {patients!r}; give a range within 0 to {specification.patients}"
        )
    if (high - low) * len(specification.strategies) > MOST_ROWS:
        raise InputError(
            f"{high - low:,} patients and {len(specification.strategies)} strategies make more "
            f"than {MOST_ROWS:,} rows; give a smaller range of patients"
        )
    plan = plan_of(make_context(specification, model))
    _, histories = tally_individuals(plan, draw, low, high, history=True)
    assert histories is not None  # noqa: S101  # asked for
    return _frame(plan, draw, low, histories)


def _frame(plan: Plan, draw: int, low: int, histories: Histories) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    statuses, weekly = histories.statuses, histories.weekly
    number = statuses.shape[0]
    place = np.searchsorted(
        np.cumsum(cohort_of(plan, draw).ravel()), np.arange(low, low + number), side="right"
    )
    cells = plan.source.cells
    cell = place % len(cells)
    drops = _drops(plan, draw, low, statuses)
    about = {
        "patient": np.arange(low, low + number),
        "failed_trials": np.array([one.failed_trials for one in cells])[cell],
        "rated_by": np.array([one.rated_by for one in cells])[cell],
        "clinic": np.array([plan.source.clinics[one.clinic].name for one in cells])[cell],
    }
    letters = np.array(list(LETTERS))[statuses]
    frames = []
    for s, strategy in enumerate(plan.specification.strategies):
        given, reason = _course(plan.automata[s], statuses, drops)
        was_given = np.arange(statuses.shape[1]) < given[:, None]
        course = {
            "strategy": strategy.name,
            "infusions": given,
            "statuses": _joined(np.where(was_given, letters, "")),
            "ended": np.array(REASONS)[reason],
            "in_response": histories.codes[s] != 0,
            "weeks": _joined(np.array(["0", "1"])[weekly[:, s]]),
        }
        frames.append(pd.DataFrame({**about, **course}))
    found = pd.concat(frames, ignore_index=True)
    artifact = plan.source.artifact
    found.attrs = {
        "model": {"name": artifact.name, "version": artifact.version, "sha256": artifact.sha256},
        "draw": draw,
        "specification": to_document(plan.specification),
        "ketacast": __version__,
    }
    return found


def _drops(plan: Plan, draw: int, low: int, statuses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a patient would not come to the infusion after each one, (n, K)."""
    number, longest = statuses.shape
    if not plan.dropout:
        return np.zeros(statuses.shape, np.bool_)
    key = (plan.specification.seed, draw)
    words = [
        patient_words(low, low + number, LEAVING + block, key)
        for block in range((longest + 3) // 4)
    ]
    below: NDArray[np.bool_] = np.concatenate(words, axis=1)[:, :longest] < thresholds(
        np.array(plan.dropout)
    )
    return below


def _course(
    strategy: Automaton, statuses: NDArray[np.uint8], drops: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Infusions given (n,), and why the course ended (n,)."""
    number = statuses.shape[0]
    given, reason = np.zeros(number, np.int64), np.zeros(number, np.int64)
    state, stays = np.full(number, strategy.start), np.ones(number, np.bool_)
    for k in range(strategy.infusions):
        move = strategy.moves[k, state, statuses[:, k]]
        leaves = stays & (move < 0)
        dropped = stays & (move >= 0) & drops[:, k]
        reason[leaves], reason[dropped] = -1 - move[leaves], DROPPED
        given[leaves | dropped] = k + 1
        stays &= ~(leaves | dropped)
        state = np.where(stays, move, 0)
    return given, reason


def _joined(characters: NDArray[np.str_]) -> NDArray[np.str_]:
    """Rows of single characters as text, (n,); empty ones only at the end."""
    width = characters.shape[1]
    return np.ascontiguousarray(characters).view(f"<U{width}")[:, 0]
