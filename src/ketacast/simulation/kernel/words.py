"""Philox4x32-10 compiled: a block of patients at a time, branch-free, so that it vectorises."""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from ketacast.simulation.philox import MULTIPLIERS, WEYL

M0, M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
W0, W1 = np.uint32(WEYL[0]), np.uint32(WEYL[1])
LOW = np.uint64(0xFFFFFFFF)


@njit(inline="always")
def _rounds(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds on one counter."""
    for _ in range(10):
        first = uint64(c0) * M0
        second = uint64(c2) * M1
        n0 = uint32(second >> uint64(32)) ^ c1 ^ k0
        n2 = uint32(first >> uint64(32)) ^ c3 ^ k1
        c1 = uint32(second & LOW)
        c3 = uint32(first & LOW)
        c0 = n0
        c2 = n2
        k0 = uint32(k0 + W0)
        k1 = uint32(k1 + W1)
    return c0, c1, c2, c3


@njit(inline="always")
def one_block(patient, block, key):  # type: ignore[no-untyped-def]
    """Four words of one patient."""
    return _rounds(
        uint32(uint64(patient) & LOW), uint32(uint64(patient) >> uint64(32)), uint32(block),
        uint32(0), key[0], key[1],
    )  # fmt: skip


@njit(cache=True, nogil=True)
def fill(first, count, block, key, out):  # type: ignore[no-untyped-def]
    """Write the words of `count` patients from `first` on, none of them past 2**32's multiple."""
    low = uint32(uint64(first) & LOW)
    high = uint32(uint64(first) >> uint64(32))
    number = uint32(block)
    k0, k1 = key[0], key[1]
    for i in range(count):
        c0, c1, c2, c3 = _rounds(uint32(low + uint32(i)), high, number, uint32(0), k0, k1)
        out[0, i] = c0
        out[1, i] = c1
        out[2, i] = c2
        out[3, i] = c3
