"""Kept answers take bounded memory."""

from __future__ import annotations

import pytest

from ketacast_service.models import OBJECTS_PER_BYTE, Answer, Answers, digest


def answer(size: int) -> Answer:
    body = b"x" * size
    return Answer(b"{}", body, digest(body))


def test_the_oldest_go_when_the_memory_is_full() -> None:
    answers = Answers(most=10 * 100 * OBJECTS_PER_BYTE)
    for key in range(10):
        answers.keep(key, answer(100))
    assert answers.find(0) is not None  # asked for now, so it is the newest
    answers.keep("next", answer(100))
    assert answers.find(1) is None
    assert answers.find(0) is not None


@pytest.mark.parametrize("large", [500, 5_000])
def test_a_large_one_takes_the_place_of_many(large: int) -> None:
    answers = Answers(most=1000 * OBJECTS_PER_BYTE)
    for key in range(10):
        answers.keep(key, answer(100))
    answers.keep("large", answer(large))
    assert answers.find("large") is not None
    kept = [key for key in range(10) if answers.find(key) is not None]
    assert len(kept) == max(0, (1000 - large) // 100)


def test_keeping_twice_counts_once() -> None:
    answers = Answers(most=300 * OBJECTS_PER_BYTE)
    for _ in range(100):
        answers.keep("same", answer(100))
    answers.keep("other", answer(100))
    assert answers.find("same") is not None
