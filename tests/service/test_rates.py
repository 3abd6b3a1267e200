"""Rate limits: what they admit, what they cost, how much they remember."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketacast_service.errors import ServiceError
from ketacast_service.security import RateLimiter, build_limits, peer_key, retry_after
from ketacast_service.security.rates import FAILURES_BURST
from ketacast_service.settings import load_settings

TAKE_MICROSECONDS = 1.0


def test_a_burst_passes_then_the_rate() -> None:
    limiter = RateLimiter(10.0, 5)
    assert [limiter.take("a", 100.0) for _ in range(5)] == [0.0] * 5
    assert limiter.take("a", 100.0) == pytest.approx(0.1)
    assert limiter.take("b", 100.0) == 0.0  # others are not touched
    assert limiter.take("a", 100.05) == pytest.approx(0.05)
    assert limiter.take("a", 100.101) == 0.0
    assert limiter.take("a", 100.101) > 0


def test_a_refused_request_costs_nothing() -> None:
    limiter = RateLimiter(1.0, 1)
    assert limiter.take("a", 0.0) == 0.0
    for moment in range(1, 10):
        assert limiter.take("a", moment / 10) > 0
    assert limiter.take("a", 1.0) == 0.0


MOMENTS = st.lists(st.floats(0, 3), min_size=1, max_size=200).map(sorted)


@given(st.floats(0.5, 50), st.integers(1, 20), MOMENTS)
def test_no_span_admits_more_than_burst_and_rate(
    rate: float, burst: int, moments: list[float]
) -> None:
    limiter = RateLimiter(rate, burst)
    admitted = [moment for moment in moments if limiter.take("a", moment) == 0.0]
    for first, last in itertools.combinations_with_replacement(range(len(admitted)), 2):
        span = admitted[last] - admitted[first]
        assert last - first + 1 <= burst + rate * span + 1e-6


@given(st.floats(0.5, 50), st.integers(1, 20), MOMENTS)
def test_who_waits_as_told_is_admitted_and_never_told_more_than_needed(
    rate: float, burst: int, moments: list[float]
) -> None:
    limiter = RateLimiter(rate, burst)
    for moment in moments:
        ahead = limiter.peek("a", moment)
        wait = limiter.take("a", moment)
        assert ahead == pytest.approx(wait, abs=1e-9)
        assert wait <= 1 / rate + 1e-9
        if wait > 0:
            assert limiter.peek("a", moment + wait) <= 1e-9


def test_zero_is_no_limit() -> None:
    limiter = RateLimiter(0.0, 1)
    assert all(limiter.take("a", 0.0) == 0.0 for _ in range(1000))
    assert len(limiter) == 0
    assert limiter.peek("a", 0.0) == 0.0


def test_memory_is_bounded_and_the_busiest_are_kept() -> None:
    limiter = RateLimiter(1.0, 2, capacity=100)
    limiter.take("busy", 0.0)
    for number in range(1000):
        limiter.take(f"peer {number}", 0.0)
        if number % 50 == 0:
            limiter.take("busy", 0.0)
    assert len(limiter) == 100
    assert limiter.take("busy", 0.0) > 0


@pytest.mark.parametrize(
    ("rate", "burst", "capacity"),
    [(-1.0, 1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1), (1.0, 0, 1), (1.0, 1, 0)],
)
def test_odd_numbers_are_refused(rate: float, burst: int, capacity: int) -> None:
    with pytest.raises(ServiceError):
        RateLimiter(rate, burst, capacity=capacity)


def test_taking_costs_less_than_a_microsecond() -> None:
    limiter = RateLimiter(1e6, 1000)
    keys = [f"key:{number:016x}" for number in range(64)]
    rounds, best = 2000, float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(rounds):
            for key in keys:
                limiter.take(key, begun)
        best = min(best, (time.perf_counter() - begun) / (rounds * len(keys)))
    assert best * 1e6 <= TAKE_MICROSECONDS


def test_failures_are_limited_more_strictly_than_clients() -> None:
    limits = build_limits(load_settings(rate_per_second=100.0, rate_burst=200))
    admitted = 0
    while limits.failures.peek("10.0.0.9", 0.0) == 0.0:
        limits.failures.take("10.0.0.9", 0.0)
        admitted += 1
    assert admitted == FAILURES_BURST
    assert limits.failures.peek("10.0.0.9", 0.5) > 0
    off = build_limits(load_settings(rate_per_second=0.0))
    assert all(off.failures.take("10.0.0.9", 0.0) == 0.0 for _ in range(100))


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_ipv6_site_is_one_peer(address: str, key: str) -> None:
    assert peer_key(address) == key


@pytest.mark.parametrize(("seconds", "text"), [(0.001, "1"), (1.0, "1"), (1.01, "2"), (59.5, "60")])
def test_retry_after_is_rounded_up(seconds: float, text: str) -> None:
    assert retry_after(seconds) == text
