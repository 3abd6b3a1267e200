"""Permutation tests and the bootstrap, as batches of fits."""

from __future__ import annotations

from ketacast.numerics.resampling.bootstrap import BootstrapKind, bootstrap
from ketacast.numerics.resampling.permutation import permutation_test

__all__ = [
    "BootstrapKind",
    "bootstrap",
    "permutation_test",
]
