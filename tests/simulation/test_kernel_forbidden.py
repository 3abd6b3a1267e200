"""Where memory may not be written and executed, individuals run without their compiled kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ketacast.simulation.running import simulate
from ketacast.simulation.specification import Cohort, Group, Specification
from ketacast.simulation.strategies import Strategy

CODE = """
import ctypes, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, Linux 6.3
    sys.exit(77)
from ketacast.simulation.individuals import has_kernel
from ketacast.simulation.running import simulate
from ketacast.simulation.specification import Cohort, Group, Specification
from ketacast.simulation.strategies import Strategy
assert not has_kernel()
spec = Specification(
    Cohort((Group(4, "self", 1.0),), counted=False), (Strategy("six", 6),), 8, 5000, draws=2,
    engine="individuals",
)
print(simulate(spec).values.tobytes().hex())
"""


@pytest.mark.usefixtures("kernel")
@pytest.mark.skipif(sys.platform != "linux", reason="forbids it by a call of Linux")
def test_a_process_that_may_not_make_code_gives_the_same_bits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], check=False, capture_output=True, text=True, timeout=120
    )
    if done.returncode == 77:
        pytest.skip("Linux before 6.3 cannot forbid it; no package mends that")
    assert done.returncode == 0, done.stderr
    spec = Specification(
        Cohort((Group(4, "self", 1.0),), counted=False), (Strategy("six", 6),), 8, 5000, draws=2,
        engine="individuals",
    )  # fmt: skip
    assert done.stdout.strip() == simulate(spec).values.tobytes().hex()
