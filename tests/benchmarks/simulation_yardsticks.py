"""What the simulation is measured against: plain NumPy, and a kernel in C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketacast.simulation.lives import Tally, empty_tally
from ketacast.simulation.tables import CourseTables, LaterTables

SOURCE = Path(__file__).with_name("simulation_kernel.c")


def compile_c(directory: Path) -> Callable[..., None] | None:
    """Compile the kernel; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = directory / "kernel.so"
    command = [
        compiler,
        "-O3",
        "-march=native",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).simulate
    function.restype = None
    return function


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """Address of a contiguous array."""
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def run_c(
    function: Callable[..., None], course: CourseTables, later: LaterTables, patients: int,
    key: tuple[int, int],
) -> Tally:  # fmt: skip
    """Run the C kernel for one cell and strategy; counts go to the first half and clinic."""
    tally = empty_tally(course, later)
    longest, _, states, _ = course.leaves.shape
    survival = np.ascontiguousarray(later.survival[0, 0])
    leaves = np.ascontiguousarray(course.leaves[:, 0])
    function(
        ctypes.c_int64(0), ctypes.c_int64(patients), ctypes.c_uint32(key[0]),
        ctypes.c_uint32(key[1]), longest, states, course.cuts.shape[-1], survival.shape[1],
        survival.shape[2], course.shift, int(later.maintained[0]), pointer(course.cuts[0]),
        pointer(course.target), pointer(leaves), pointer(survival), pointer(later.offset[0]),
        pointer(later.week[0]), pointer(tally.seen[0, 0]), pointer(tally.kept[0, 0, 0]),
        pointer(tally.lost[0, 0, 0]),
    )  # fmt: skip
    return tally


def plain_numpy(course: CourseTables, later: LaterTables, patients: int) -> NDArray[np.int64]:
    """The same process as one would write it: a vector of patients, step by step.

    NumPy's fastest generator in single precision, one uniform number for each patient and
    step; returns how many are in response at each week's end.
    """
    rng = np.random.Generator(np.random.SFC64(1))
    chance = course.cuts[0].astype(np.float32) / np.float32(2**32)
    kind = rng.integers(0, chance.shape[-1], patients)
    state = np.zeros(patients, np.int32)
    entry = np.full(patients, -1, np.int32)
    arm = np.zeros(patients, np.int32)
    for k in range(chance.shape[0]):
        uniform = rng.random(patients, dtype=np.float32)
        letter = (uniform < chance[k, 0][kind]).astype(np.int8) + (uniform < chance[k, 1][kind])
        left = course.leaves[k, 0][state, letter].astype(bool) & (letter > 0)
        entry[left] = k
        arm[left] = letter[left] if later.maintained[0] else 0
        state = course.target[k][state, letter]
    survival = later.survival[0, 0]
    horizon = survival.shape[2]
    before = np.concatenate([np.ones((*survival.shape[:2], 1)), survival[..., :-1]], axis=-1)
    kept = (survival / np.maximum(before, 1e-300)).astype(np.float32)
    well = entry >= 0
    start, offset = later.week[0][entry], later.offset[0][entry]
    found = np.zeros(horizon, np.int64)
    for week in range(1, horizon + 1):
        uniform = rng.random(patients, dtype=np.float32)
        age = np.maximum(week - start, 0)
        well &= (uniform < kept[arm, offset, age]) | (week < start)
        found[week - 1] = np.count_nonzero(well & (week >= start))
    return found
