"""Text columns beside an axis: measured first, so that nothing overlaps or is cut."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.plots.canvas import GREY, INK, RULE, SMALL, new_figure, style_axes, typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches around and between columns.
MARGIN: Final = 0.12
GAP: Final = 0.16
#: Characters and lines of a label; the whole one is in the text equivalent.
LABEL_COLUMNS: Final = 44
LABEL_LINES: Final = 3
POINTS: Final = 72.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text.

    Attributes
    ----------
    head : str
        Its heading.
    cells : tuple of str
        One per row.
    align : {"left", "right"}
        Side that its texts share.
    """

    head: str
    cells: tuple[str, ...]
    align: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A figure with an axis between columns of text.

    Attributes
    ----------
    figure : Figure
    axes : Axes
        Its vertical scale counts lines of text downwards.
    at : ndarray, shape (rows,)
        Vertical positions of the rows.
    line : float
        Height of a line of text, points.
    """

    figure: Figure
    axes: Axes
    at: FloatArray
    line: float


def font_size(rows: int) -> float:
    """Points of the text in the rows: smaller in long figures, which must fit a page."""
    return float(np.interp(rows, [30, 80], [9.0, 6.5]))


def line_height(rows: int) -> float:
    """Inches from one row to the next."""
    return float(np.interp(rows, [30, 80], [1.75, 1.4])) * font_size(rows) / POINTS


def make_sheet(
    left: list[Column],
    right: list[Column],
    *,
    plot_width: float,
    breaks: tuple[int, ...],
    xlabel: str,
    notes: Sequence[str],
) -> Sheet:
    """Lay out columns, axis and notes in a figure just large enough.

    Parameters
    ----------
    left, right : list of Column
        Columns on either side of the axis; all have the same number of rows.
    plot_width : float
        Inches of the axis.
    breaks : tuple of int
        Rows before which a thin rule is drawn.
    xlabel : str
        Title of the axis.
    notes : sequence of str
        Sentences below it.
    """
    rows = len(left[0].cells)
    size = font_size(rows)
    left = [_wrapped(left[0]), *left[1:]]
    lines = np.array([1 + cell.count("\n") for cell in left[0].cells], dtype=np.float64)
    extra = np.array([0.6 if row in breaks else 0.0 for row in range(rows)])
    at = np.cumsum(lines + extra) - 0.5 * lines
    total = float(lines.sum() + extra.sum())
    figure = new_figure(1.0, 1.0, constrained=False)
    widths = [_width(figure, column, size) for column in (*left, *right)]
    columns_left, columns_right = sum(widths[: len(left)]), sum(widths[len(left) :])
    width = 2.0 * MARGIN + columns_left + columns_right + plot_width + GAP * len(widths)
    wrapped = textwrap.wrap(typeset(" ".join(notes)), int(width * POINTS / (SMALL * 0.53)))
    line = line_height(rows)
    top, bottom = 0.36, 0.62 + len(wrapped) * 1.3 * SMALL / POINTS
    height = top + total * line + bottom
    figure.set_size_inches(width, height)
    start = (MARGIN + columns_left + GAP * len(left)) / width
    axes = figure.add_axes((start, bottom / height, plot_width / width, total * line / height))
    axes.set_ylim(total, 0.0)
    style_axes(axes, xlabel=xlabel)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    sheet = Sheet(figure, axes, at, line * POINTS)
    _write(sheet, (left, right), widths, size)
    for row in breaks:
        _rule(sheet, at[row] - 0.5 * lines[row] - 0.5 * extra[row])
    _rule(sheet, -0.1)
    figure.text(
        MARGIN / width, 0.07 / height, "\n".join(wrapped), fontsize=SMALL, color=GREY,
        va="bottom", linespacing=1.2,
    )  # fmt: skip
    return sheet


def draw_intervals(
    sheet: Sheet,
    at: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    limits: tuple[float, float],
    *,
    gid: str,
) -> None:
    """Draw horizontal intervals; those that leave the axis end in an arrow.

    Parameters
    ----------
    sheet : Sheet
        Where.
    at, lower, upper : ndarray, shape (m,)
        Rows and ends; NaN is not drawn.
    limits : tuple of float
        Ends of the axis.
    gid : str
        Name of the lines in the figure.
    """
    left, right = limits
    sheet.axes.hlines(
        at, np.clip(lower, left, right), np.clip(upper, left, right), color=INK, lw=1.1, zorder=3,
        gid=gid,
    )  # fmt: skip
    for cut, end, marker in ((lower < left, left, "<"), (upper > right, right, ">")):
        sheet.axes.plot(
            np.full(int(cut.sum()), end), at[cut], marker, color=INK, ms=0.3 * sheet.line,
            clip_on=False, zorder=3, gid=f"{gid}-cut",
        )  # fmt: skip


def _wrapped(column: Column) -> Column:
    cells = []
    for cell in column.cells:
        lines = textwrap.wrap(cell, LABEL_COLUMNS) or [""]
        if len(lines) > LABEL_LINES:
            lines = lines[:LABEL_LINES]
            lines[-1] = lines[-1][: LABEL_COLUMNS - 2].rstrip() + " …"
        cells.append("\n".join(lines))
    return Column(column.head, tuple(cells), column.align)


def _width(figure: Figure, column: Column, size: float) -> float:
    """Inches of the widest text of a column."""
    widest = 0.0
    for text, weight in [(column.head, "bold"), *((cell, "normal") for cell in set(column.cells))]:
        drawn = figure.text(0.0, 0.0, text, fontsize=size, fontweight=weight)
        widest = max(widest, drawn.get_window_extent().width / figure.dpi)
        drawn.remove()
    return widest


def _write(
    sheet: Sheet, columns: tuple[list[Column], list[Column]], widths: list[float], size: float
) -> None:
    from matplotlib.transforms import blended_transform_factory  # noqa: PLC0415 - optional

    figure, axes = sheet.figure, sheet.axes
    across = blended_transform_factory(figure.transFigure, axes.transData)
    here, width = MARGIN, float(figure.get_size_inches()[0])
    for i, column in enumerate((*columns[0], *columns[1])):
        if i == len(columns[0]):
            here = axes.get_position().x1 * width + GAP
        x = here if column.align == "left" else here + widths[i]
        place: dict[str, Any] = {
            "transform": across,
            "ha": column.align,
            "fontsize": size,
            "color": INK,
        }
        axes.text(x / width, -0.35, column.head, va="bottom", fontweight="bold", **place)
        for y, cell in zip(sheet.at, column.cells, strict=True):
            axes.text(x / width, y, cell, va="center_baseline", linespacing=1.1, **place)
        here += widths[i] + GAP


def _rule(sheet: Sheet, y: float) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional
    from matplotlib.transforms import blended_transform_factory  # noqa: PLC0415

    across = blended_transform_factory(sheet.figure.transFigure, sheet.axes.transData)
    edge = MARGIN / float(sheet.figure.get_size_inches()[0])
    sheet.axes.add_artist(
        Line2D([edge, 1.0 - edge], [y, y], transform=across, color=RULE, lw=0.8, clip_on=False)
    )
