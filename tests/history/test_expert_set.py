"""Histories with the answer a clinician would give: decided first, then held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketacast.history import HistoryCount, count_failed_trials, count_failed_trials_in_table

Record = dict[str, Any]
Build = Callable[[list[Record]], list[Record]]

AS_OF = "2026-06-01"


def counted(case: Record, build: Build) -> HistoryCount:
    as_of = case.get("as_of", AS_OF)
    if "rows" in case:
        return count_failed_trials_in_table(case["rows"], as_of=as_of)
    return count_failed_trials(build(case["records"]), as_of=as_of)


def test_an_expert_would_count_the_same(case: Record, build: Build) -> None:
    found = counted(case, build)
    shown = f"{case['why']}\n\n{found}"
    assert [found.current_episode.low, found.current_episode.high] == case["current"], shown
    assert [found.lifetime.low, found.lifetime.high] == case["lifetime"], shown
    if "eras" in case:
        assert [f"{e.ingredient} {e.reason.code}" for e in found.eras] == case["eras"], shown
    if "usual" in case:
        assert found.usual_current_episode == case["usual"], shown
    if "highest" in case:
        assert max(e.highest_mg or 0 for e in found.eras) == case["highest"], shown


def test_what_is_beside_the_count_is_as_expected(case: Record, build: Build) -> None:
    found = counted(case, build)
    if "reported" in case:
        assert [entry.kind for entry in found.reported] == case["reported"]
    if "flags" in case:
        flags = {flag.code for flag in found.flags}
        assert flags - {"fewer_than_two_failed_trials", "no_depression_recorded"} == set(
            case["flags"]
        )
    if "unread" in case:
        assert sorted(entry.code for entry in found.unread) == case["unread"]
    if "set_aside" in case:
        assert sorted(entry.code for entry in found.set_aside) == case["set_aside"]


def test_the_parts_add_up(case: Record, build: Build) -> None:
    found = counted(case, build)
    for reading, current, lifetime in (
        ("strict", found.current_episode.low, found.lifetime.low),
        ("usual", found.usual_current_episode, found.usual_lifetime),
        ("lenient", found.current_episode.high, found.lifetime.high),
    ):
        judged = [getattr(era, reading) for era in found.eras]
        assert sum(entry.current for entry in judged) == current
        assert sum(entry.lifetime for entry in judged) == lifetime
    assert found.current_episode.low <= found.usual_current_episode <= found.current_episode.high
    assert all(era.reasons and era.sources for era in found.eras)


def test_the_set_is_as_large_as_it_was(all_cases: list[Record]) -> None:
    assert len(all_cases) >= 190
    assert len({case["name"] for case in all_cases}) == len(all_cases)
    assert all(case["why"] for case in all_cases)
