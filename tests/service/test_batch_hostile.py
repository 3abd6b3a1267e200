"""Arrow streams made to break their reader: one clear error, no crash, no large allocation."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.predictor import load_predictor
from ketacast_service.api.batch import arrow_frames
from ketacast_service.api.batch.arrow import ArrowStream
from ketacast_service.errors import ProblemError

PREDICTOR = load_predictor()
MEBIBYTE = 1 << 20
MOST_MEMORY = 256 * MEBIBYTE
USUAL = pa.default_memory_pool()
COUNTING = pa.proxy_memory_pool(USUAL)
"""Kept for ever, for buffers point to it until they are collected as garbage."""
DICTIONARY = pa.dictionary(pa.int8(), pa.string())


def table_of(rater: Any, number: Any) -> Any:
    rows = 12
    return pa.table(
        {
            "failed_trials": pa.array([6, None, 25] * 4, number),
            "infusions": pa.array(range(rows), number),
            "rated_by": pa.array(["self", "bob", None, "unknown"] * 3, rater),
        }
    )


def stream_of(table: Any, chunk: int = 5, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue()


SOUND = [
    stream_of(table_of(pa.string(), pa.uint64())),
    stream_of(table_of(pa.large_string(), pa.int8())),
    stream_of(table_of(DICTIONARY, pa.int32())),
]


def fed(body: bytes, step: int = MEBIBYTE, max_rows: int = 1000) -> bytes:
    stream = ArrowStream(PREDICTOR, max_rows=max_rows)
    pieces = []
    for start in range(0, len(body), step):
        pieces += stream.feed(body[start : start + step])
    return b"".join(piece.output for piece in [*pieces, *stream.finish()])


def refused_or_sound(body: bytes, step: int = MEBIBYTE) -> None:
    """Only a problem may be raised; an answer must be a sound stream."""
    output, problem = b"", None
    try:
        output = fed(body, step)
    except ProblemError as error:
        problem = error
    if problem is None:
        pa.ipc.open_stream(output).read_all().validate(full=True)
    else:
        assert problem.slug in {"malformed-request", "invalid-input", "too-large"}
        assert len(problem.detail) < 1000


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Fail where Arrow or Python take more than is allowed, even for a moment."""
    pa.set_memory_pool(COUNTING)
    tracemalloc.start()
    try:
        yield
        assert COUNTING.max_memory() + tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(USUAL)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_altered_bytes_are_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        length = data.draw(st.sampled_from((1, 4, 8)))
        new = data.draw(st.binary(min_size=length, max_size=length))
        body[place : place + length] = new
    refused_or_sound(bytes(body), data.draw(st.sampled_from((7, 64, MEBIBYTE))))


@pytest.mark.parametrize("rater", [pa.string(), DICTIONARY])
def test_every_byte_altered(rater: Any) -> None:
    chance = random.Random(1)  # noqa: S311  # not for secrets
    body = stream_of(table_of(rater, pa.int8()), 100)
    for place in range(len(body)):
        altered = bytearray(body)
        altered[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, altered[place] ^ 0x10))
        refused_or_sound(bytes(altered))


@pytest.mark.parametrize("number", [1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_every_number_made_huge(number: int) -> None:
    for body in SOUND:
        for place in range(0, len(body) - 8, 8):
            refused_or_sound(body[:place] + struct.pack("<Q", number) + body[place + 8 :])


@pytest.mark.parametrize("body", SOUND)
def test_a_cut_off_stream_is_never_taken_for_whole(body: bytes) -> None:
    for length in range(0, len(body), 5):
        with pytest.raises(ProblemError) as caught:
            fed(body[:length])
        assert caught.value.slug == "malformed-request"


@given(st.binary(max_size=400), st.booleans())
@settings(deadline=None)
def test_any_bytes_are_refused(body: bytes, marked: bool) -> None:
    with pytest.raises(ProblemError):
        fed(b"\xff\xff\xff\xff" + body if marked else body)


def file_of(table: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def delta() -> bytes:
    schema = pa.schema([*table_of(DICTIONARY, pa.int8()).schema])
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for words in (["self"], ["self", "clinician"]):
            column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(words))
            number = pa.array([6], pa.int8())
            writer.write_batch(pa.record_batch([number, number, column], schema=schema))
    return sink.getvalue()


PLAIN = table_of(pa.string(), pa.int64())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "cut off"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00", "no schema"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(64), "2147483647 bytes of metadata"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x80" + bytes(64), "-2147483648 bytes of metadata"),
        (b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"\xff" * 8, "damaged metadata"),
        (b'{"failed_trials":[6]}', "does not begin as one"),
        (b"PAR1" + bytes(64), "does not begin as one"),
        (file_of(PLAIN), "does not begin as one"),
        (stream_of(PLAIN, use_legacy_format=True), "does not begin as one"),
        (stream_of(PLAIN, compression="zstd"), "compressed"),
        (stream_of(PLAIN, compression="lz4"), "compressed"),
        (stream_of(table_of(DICTIONARY, pa.int8()), compression="zstd"), "compressed"),
        (delta(), "delta"),
        (SOUND[0] + b"\x00", "follow its end"),
        (SOUND[0][:-8] + SOUND[0], "begin with its schema"),
        (SOUND[0][SOUND[0].index(b"\xff\xff\xff\xff", 8) :], "begin with its schema"),
    ],
)
def test_what_is_not_offered_is_named(body: bytes, words: str) -> None:
    for step in (5, MEBIBYTE):
        with pytest.raises(ProblemError, match=words) as caught:
            fed(body, step)
        assert caught.value.slug == "malformed-request"


def test_a_body_longer_than_the_stream_is_not_waited_for() -> None:
    batch = PLAIN.to_batches()[0]
    message = batch.serialize().to_pybytes()
    body = struct.pack("<q", pa.ipc.read_message(message).body.size)
    assert message.count(body) >= 1
    for size in (65 * MEBIBYTE, (1 << 63) - 1, -1):
        altered = message.replace(body, struct.pack("<q", size))
        with pytest.raises(ProblemError, match=f"body of {size} bytes"):
            fed(PLAIN.schema.serialize().to_pybytes() + altered)


def test_long_dictionaries_are_refused() -> None:
    for words, said in ((["x" * 70_000], "bytes"), ([str(at) for at in range(1100)], "1100 texts")):
        column = pa.array(words).dictionary_encode()
        numbers = pa.array([6] * len(words))
        table = pa.table({"failed_trials": numbers, "infusions": numbers, "rated_by": column})
        with pytest.raises(ProblemError, match=said):
            fed(stream_of(table))


def test_a_long_text_in_many_rows_stays_one() -> None:
    rows = 100_000
    column = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows, pa.int8()), pa.array(["é" * 30_000])
    )
    numbers = pa.array([6] * rows, pa.int8())
    table = pa.table({"failed_trials": numbers, "infusions": numbers, "rated_by": column})
    output = fed(stream_of(table, rows), max_rows=rows)
    answer = pa.ipc.open_stream(output).read_all()
    assert answer["error"].null_count == 0
    assert len(answer["error"][rows - 1].as_py()) < 120


def long_text() -> bytes:
    words = ["\N{GRINNING FACE}" + "x" * (30 * MEBIBYTE), "self"]
    table = pa.table({"failed_trials": [6, 6], "infusions": [6, 6], "rated_by": words})
    return stream_of(table)


def test_a_text_of_megabytes_is_cut_in_the_message() -> None:
    body = long_text()
    tracemalloc.reset_peak()  # making it took more than reading it may
    answer = pa.ipc.open_stream(fed(body)).read_all()
    first, second = answer["error"].to_pylist()
    assert len(first) < 120
    assert second is None


def test_many_small_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_frames, "MOST_MESSAGES", 500)
    schema = PLAIN.schema.serialize().to_pybytes()
    empty = PLAIN.to_batches()[0].slice(0, 0).serialize().to_pybytes()
    assert fed(schema + empty * 499 + SOUND[0][-8:])
    with pytest.raises(ProblemError, match="put more rows into each") as caught:
        fed(schema + empty * 500)
    assert caught.value.slug == "too-large"


def test_names_that_are_no_text_are_refused() -> None:
    body = SOUND[0].replace(b"rated_by", b"rated\xffby")
    with pytest.raises(ProblemError, match="not UTF-8") as caught:
        fed(body)
    assert caught.value.slug == "malformed-request"
