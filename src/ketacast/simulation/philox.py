"""Philox4x32-10 in NumPy: random words by counter, the reference of the compiled kernel.

A word depends on its key (seed, draw) and counter (patient, block) alone, so that no
order of work, and no number of threads, processes or machines, changes it.

References
----------
Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (SC'11); the known answers
of Random123 are among the tests.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)

COURSE: Final = 1
"""Block of the first four infusions; block 0 is the patient's own."""

LEAVING: Final = 1000
"""First block of the drop-outs, one word for each infusion."""

EPISODE: Final = 2000
"""First block of the times in response, one block for each."""

_LOW: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Random words of some counters.

    Parameters
    ----------
    counter : (n, 4) uint32 array
    key : (int, int)
        Two 32-bit numbers.

    Returns
    -------
    (n, 4) uint32 array
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c2 = (
            (second >> _SHIFT) ^ c1 ^ np.uint64(k0),
            (first >> _SHIFT) ^ c3 ^ np.uint64(k1),
        )
        c1, c3 = second & _LOW, first & _LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def patient_words(low: int, high: int, block: int, key: tuple[int, int]) -> Words:
    """Words of patients `low` to `high` - 1 in one block, (high - low, 4)."""
    patients = np.arange(low, high, dtype=np.uint64)
    counter = np.zeros((patients.size, 4), np.uint32)
    counter[:, 0] = (patients & _LOW).astype(np.uint32)
    counter[:, 1] = (patients >> _SHIFT).astype(np.uint32)
    counter[:, 2] = block
    return philox(counter, key)
