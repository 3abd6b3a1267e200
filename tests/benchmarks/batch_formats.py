"""Speed of the batch formats, each as a ratio to a yardstick timed in the same run.

Run: python tests/benchmarks/batch_formats.py

Times are processor time of this process: waiting for a busy machine does not count. A format's
time covers reading, range checks, writing and the audit record. The yardstick is the bare work
that no answer can do without: gathering 20 columns of floats for the same rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pydantic_core import from_json

from ketacast.options import RATERS
from ketacast.predictor import load_predictor
from ketacast_service.api.batch import LineStream, answer_columns, tables_for
from ketacast_service.api.batch.arrow import ArrowStream

MOST_ROWS = 1_000_000
CHUNK = 1 << 16


@dataclass
class Format:
    """A format with its request and its goal: processor time as a ratio to the yardstick's.

    The yardstick ran at 22.5 M rows/s where the goals of 1 (JSON columns), 0.5 (NDJSON) and
    3 M rows/s (Arrow) were set.
    """

    name: str
    request: bytes
    answer: Callable[[bytes], int]
    parse: Callable[[bytes], object]
    goal: float


def seconds(task: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Least and median processor time of one call."""
    task()
    times = []
    for _ in range(rounds):
        start = time.process_time_ns()
        task()
        times.append((time.process_time_ns() - start) / 1e9)
    return min(times), statistics.median(times)


def streamed(stream: Any, body: bytes) -> int:
    """Bytes of the answer to a body that comes in chunks."""
    size = 0
    for start in range(0, len(body), CHUNK):
        size += sum(len(piece.output) for piece in stream.feed(body[start : start + CHUNK]))
    return size + sum(len(piece.output) for piece in stream.finish())


def columns_answered(body: bytes) -> int:
    """Bytes of the answer to JSON columns, made part by part."""
    answer = answer_columns(body, load_predictor(), MOST_ROWS)
    assert answer.record
    return sum(len(part) for part in answer.parts())


def formats(rows: int) -> list[Format]:
    """Return the formats with requests of random rows."""
    rng = np.random.default_rng(1)
    trials, infusions = rng.integers(0, 21, rows), rng.integers(1, 31, rows)
    raters = [RATERS[at] for at in rng.integers(0, 3, rows)]
    columns: dict[str, Any] = {
        "failed_trials": trials.tolist(), "infusions": infusions.tolist(), "rated_by": raters,
    }  # fmt: skip
    lines = [
        json.dumps(dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]
    table = pa.table(
        {"failed_trials": pa.array(trials, pa.int8()), "infusions": pa.array(infusions, pa.int64()),
         "rated_by": pa.array(raters).dictionary_encode()}
    )  # fmt: skip
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    predictor = load_predictor()

    def new_lines(body: bytes) -> int:
        return streamed(LineStream(predictor, max_rows=MOST_ROWS), body)

    def new_arrow(body: bytes) -> int:
        return streamed(ArrowStream(predictor, max_rows=MOST_ROWS), body)

    return [
        Format("JSON columns", json.dumps(columns).encode(), columns_answered, from_json, 22.5),
        Format("NDJSON", "\n".join(lines).encode(), new_lines, bytes.splitlines, 45.0),
        Format("Arrow stream", sink.getvalue().to_pybytes(), new_arrow, arrow_read, 7.5),
    ]


def arrow_read(body: bytes) -> object:
    """Read only."""
    return pa.ipc.open_stream(body).read_all()


def gather(rows: int) -> Callable[[], object]:
    """Return the yardstick: 20 columns of floats looked up by row."""
    table = np.random.default_rng(1).random((20, 1891))
    cell = np.random.default_rng(2).integers(0, 1890, rows)
    return lambda: [column.take(cell) for column in table]


def measure(rows: int, rounds: int) -> None:
    """Print a line per format."""
    yardstick = min(seconds(gather(rows), rounds))
    print(f"{rows:,} rows; gathering 20 columns: {rows / yardstick / 1e6:.1f} M rows/s")
    for form in formats(rows):
        least, median = seconds(lambda form=form: form.answer(form.request), rounds)  # type: ignore[misc]
        parse = min(seconds(lambda form=form: form.parse(form.request), rounds))  # type: ignore[misc]
        ratio = least / yardstick
        met = "met" if ratio <= form.goal else "MISSED"
        print(
            f"  {form.name:<13} {rows / least / 1e6:6.2f} M rows/s (median "
            f"{rows / median / 1e6:6.2f})   / gathering {ratio:7.1f}   / reading alone "
            f"{least / parse:6.1f}   {form.answer(form.request) / rows:5.0f} B/row   "
            f"goal: ratio <= {form.goal}: {met}"
        )


def main() -> None:
    """Measure small and large batches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, MOST_ROWS])
    parser.add_argument("--rounds", type=int, default=0, help="by default about a million rows")
    given = parser.parse_args()
    tables_for(load_predictor()).warm()
    for rows in given.rows:
        measure(rows, given.rounds or max(5, min(200, MOST_ROWS // rows)))


if __name__ == "__main__":
    main()
