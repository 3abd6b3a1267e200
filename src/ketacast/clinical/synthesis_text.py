"""The synthesis as a table for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from ketacast.clinical.synthesis_data import PublishedValue
from ketacast.clinical.synthesis_result import METHODS, Synthesis, SynthesisRow
from ketacast.errors import InputError

#: Everything but the labels, which need at least this much beside it.
_NUMBERS: Final = 55
_LEAST_LABEL: Final = 16

_BLANK: Final = "-"
_SHORT: Final = {METHODS[0]: "REML", METHODS[1]: "exact"}


def synthesis_lines(synthesis: Synthesis, width: int = 80) -> list[str]:
    """Lay the synthesis out as lines of at most `width` characters.

    Parameters
    ----------
    synthesis : Synthesis
        The analyses.
    width : int
        Columns of the terminal, 72 or more.

    Returns
    -------
    list of str
        Lines without line ends: one block per analysis with the anchor's
        figure as its last row, then the notes.

    Raises
    ------
    InputError
        If `width` is too small for the numbers.
    """
    least = _NUMBERS + _LEAST_LABEL + 1
    if isinstance(width, bool) or not isinstance(width, int) or width < least:
        raise InputError(f"width is {width!r}; give a whole number, {least} or more")
    label = width - _NUMBERS - 1
    size = "" if synthesis.anchor_k is None else f" ({synthesis.anchor_k} studies"
    if synthesis.anchor_n is not None and size:
        size += f", {synthesis.anchor_n:,} patients"
    size += ")" if size else ""
    lines = _wrapped(f"This evidence beside the synthesis of {synthesis.anchor}{size}", width)
    lines += _wrapped(
        "REML: restricted maximum likelihood, Knapp-Hartung interval, logits with 1/2 added where "
        "needed. exact: maximum likelihood of the binomial-normal model, t interval. 80 % and "
        "95 % range: where a new clinic's true value is expected (prediction interval).",
        width,
    )
    for _, block in groupby(synthesis.rows, key=lambda row: row.analysis):
        lines += ["", *_block(list(block), label, width)]
    lines += ["", *(line for note in synthesis.notes for line in _wrapped(note, width, "* "))]
    return [line.rstrip() for line in lines]


def _block(rows: Sequence[SynthesisRow], label: int, width: int) -> list[str]:
    first = rows[0]
    slope = first.scale == "log odds ratio"
    lines = [_title(first)]
    lines.append(_slope_header(label) if slope else _pooled_header(label))
    for row in rows:
        # The anchor's figure stands right below ours of the same scope.
        if first.published is not None and row.group != first.group and row.published is None:
            lines.append(_published_line(first.published, label, slope=slope))
            first = replace(first, published=None)
        lines += _row_lines(row, label, width)
    if first.published is not None:
        lines.append(_published_line(first.published, label, slope=slope))
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        lines += _wrapped(note, width, "  - ")
    return lines


def _row_lines(row: SynthesisRow, label: int, width: int) -> list[str]:
    name = _name(row)
    if row.refused:
        cells = f"{name:<{label}} {row.k:>3} {row.n:>5}"
        return _hanging(f"{cells}  no estimate: {row.refused}", label + 12, width)
    line = _slope_line if row.scale == "log odds ratio" else _pooled_line
    return [line(row, name, label)]


def _title(row: SynthesisRow) -> str:
    unit = {
        "probability": "probability",
        "standardised mean change": "standardised mean change, improvement positive",
        "log odds ratio": "log odds ratio per unit, between cohorts",
    }[row.scale]
    return f"{row.analysis[:1].upper()}{row.analysis[1:]} ({unit})"


def _name(row: SynthesisRow) -> str:
    method = _SHORT[row.method]
    group = {"all primary cohorts": "all", "clinician-rated": "clinician"}.get(row.group, row.group)
    return group if row.analysis == "symptoms" else f"{group}, {method}"


def _pooled_header(label: int) -> str:
    counts = f"{'':<{label}} {'k':>3} {'n':>5}"
    return f"{counts} {'mean [95 % CI]':>18} {'80 % range':>12} {'95 % range':>12}"


def _pooled_line(row: SynthesisRow, name: str, label: int) -> str:
    middle = _estimate(row.estimate, row.ci)
    return (
        f"{name:<{label}} {row.k:>3} {row.n:>5} {middle:>18} {_range(row.pi80):>12} "
        f"{_range(row.pi95):>12}"
    )


def _slope_header(label: int) -> str:
    return f"{'':<{label}} {'k':>3} {'n':>5} {'slope [95 % CI]':>20} {'p':>7} {'I2':>6}"


def _slope_line(row: SynthesisRow, name: str, label: int) -> str:
    middle = _estimate(row.estimate, row.ci)
    p = _BLANK if row.p_value is None else f"{row.p_value:.2f}" if row.p_value >= 0.01 else "<0.01"
    i2 = _BLANK if row.i2 is None else f"{row.i2:.0f} %"
    return f"{name:<{label}} {row.k:>3} {row.n:>5} {middle:>20} {p:>7} {i2:>6}"


def _published_line(value: PublishedValue, label: int, *, slope: bool) -> str:
    name = f"{'published':<{label}}"
    k = _BLANK if value.k is None else str(value.k)
    n = _BLANK if value.n is None else str(value.n)
    if slope:
        shown = "not public" if value.value is None else _estimate(value.value, value.ci)
        return f"{name} {k:>3} {n:>5} {shown:>20} {value.p_value or _BLANK:>7} {_BLANK:>6}"
    middle = _estimate(value.value, value.ci)
    return f"{name} {k:>3} {n:>5} {middle:>18} {_BLANK:>12} {_BLANK:>12}"


def _estimate(value: float | None, ci: tuple[float, float] | None) -> str:
    if value is None:
        return _BLANK
    shown = _two(value)
    return shown if ci is None else f"{shown} [{_two(ci[0])}, {_two(ci[1])}]"


def _range(limits: tuple[float, float] | None) -> str:
    return _BLANK if limits is None else f"{_two(limits[0])} to {_two(limits[1])}"


def _two(value: float) -> str:
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, 2) + 0.0:.2f}"


def _wrapped(text: str, width: int, mark: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=mark, subsequent_indent=" " * len(mark), break_long_words=False
    )


def _hanging(text: str, indent: int, width: int) -> list[str]:
    # textwrap would fold the spaces that align the columns, so the head is kept apart.
    head, tail = text[:indent], text[indent:]
    folded = textwrap.wrap(tail, width - indent, break_long_words=False)
    return [head + folded[0], *(" " * indent + line for line in folded[1:])]
