"""Random numbers of the counts: a stream for each draw, stage and half of the cohort.

Philox4x64 is keyed by (seed, draw); the stage stands in the high words of its counter, so
that no two stages share numbers and no order of work changes them. Strategies read the
same streams: common random numbers.

References
----------
Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (SC'11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ketacast.arrays import FloatArray
from ketacast.simulation.flows import Numbers

COHORT: Final = 1
STATUS: Final = 2
DROPOUT: Final = 3
LATER: Final = 4

COUPLED: Final = 100_000
"""Up to this many patients a number is split by inverting the binomial distribution at a
uniform number that strategies share, so that more patients never lose the response less
often by chance. Beyond, Monte-Carlo error is below 0.2 % and a faster generator serves."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Random numbers of one draw.

    Attributes
    ----------
    seed, draw : int
    """

    seed: int
    draw: int

    def generator(self, stage: int, step: int = 0) -> np.random.Generator:
        """Start the stream of a stage and step."""
        key = np.array([self.seed, self.draw], np.uint64)
        counter = np.array([0, 0, step, stage], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def split(self, numbers: Numbers, chance: FloatArray | float, week: int, event: int) -> Numbers:
        """Split counts at random after the course; see `aftercourse.Splitter`.

        Every place of the array has a uniform number of its own, whatever stands there.
        """
        generator = self.generator(LATER + event, week)
        chances = np.broadcast_to(chance, numbers.shape)
        found = np.zeros_like(numbers)
        uniform = generator.random(numbers.shape)
        small = (numbers > 0) & (numbers <= COUPLED)
        if small.any():
            found[small] = coupled_binomial(uniform[small], numbers[small], chances[small])
        large = numbers > COUPLED
        if large.any():
            found[large] = generator.binomial(numbers[large], chances[large])
        return found


def coupled_binomial(
    uniform: FloatArray, numbers: NDArray[np.int64], chance: FloatArray
) -> NDArray[np.int64]:
    """Binomial counts by inversion: rising in the number, the chance and the uniform."""
    low = np.clip(chance, 0.0, 1.0)
    value = stats.binom.ppf(np.maximum(uniform, 2.0**-54), numbers, low)
    return np.clip(value, 0, numbers).astype(np.int64)
