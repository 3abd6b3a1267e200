"""Figures as inline SVG without styles of their own: numbers in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from ketacast.prediction import Interval

_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 10.0, 12.0, 34.0
_TICKS: Final = (0, 25, 50, 75, 100)
_MOST_DOTS: Final = 14
"""More dots than that would touch each other."""


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a curve: a number with its two ranges.

    Attributes
    ----------
    at : float
        Infusion or week.
    expected : float
    likely, wide : Interval
        Probabilities.
    own : Interval or None
        This clinic's range.
    """

    at: float
    expected: float
    likely: Interval
    wide: Interval
    own: Interval | None = None


class Frame:
    """The field of a chart: from data to coordinates.

    Parameters
    ----------
    first, last : float
        Ends of the horizontal axis.
    width, height : int
        Of the whole drawing.
    """

    def __init__(self, first: float, last: float, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._first, self._span = first, last - first

    def x(self, at: float) -> float:
        """Return the horizontal coordinate."""
        return _LEFT + (self.width - _LEFT - _RIGHT) * (at - self._first) / self._span

    def y(self, probability: float) -> float:
        """Return the vertical coordinate."""
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * probability


def curve(
    points: Sequence[Point],
    *,
    label: str,
    unit: str,
    later: Sequence[Point] = (),
    size: tuple[int, int] = (360, 230),
) -> Markup:
    """Draw chances over time with their two ranges.

    Parameters
    ----------
    points : sequence of Point
        At least one.
    label : str
        What the figure says, for those who do not see it.
    unit : str
        Title of the horizontal axis; the vertical one is patients of 100.
    later : sequence of Point
        What would follow, drawn apart.
    size : (int, int)
        Width and height.
    """
    every = [*points, *later]
    first, last = every[0].at, every[-1].at
    pad = 0.35 if len(every) < 14 and first > 0 else 0.0
    frame = Frame(first - pad, max(last, first) + pad or 1.0, *size)
    body = [_grid(frame), _ticks(frame, every, unit)]
    body.append(_curve_parts(frame, points, ""))
    if later:
        body.append(_curve_parts(frame, [points[-1], *later], " later"))
    return _svg(frame.width, frame.height, label, "".join(body), "curve")


def _curve_parts(frame: Frame, points: Sequence[Point], kind: str) -> str:
    parts = [
        _area(frame, [(one.at, one.wide) for one in points], f"wide{kind}"),
        _area(frame, [(one.at, one.likely) for one in points], f"likely{kind}"),
    ]
    own = [(one.at, one.own) for one in points if one.own is not None]
    if own:
        parts += [_line(frame, [(at, bounds[side]) for at, bounds in own], "own")
                  for side in (0, 1)]  # fmt: skip
    parts.append(_line(frame, [(one.at, one.expected) for one in points], f"expected{kind}"))
    if len(points) <= _MOST_DOTS:
        parts += [
            f'<circle class="dot{kind}" cx="{frame.x(one.at):.1f}" '
            f'cy="{frame.y(one.expected):.1f}" r="3.5"/>'
            for one in points
        ]
    return "".join(parts)


def _area(frame: Frame, bounds: Sequence[tuple[float, Interval]], kind: str) -> str:
    if len(bounds) == 1:  # one infusion has no line: a bar of some width instead
        at, one = bounds[0]
        bounds = [(at - 0.12, one), (at + 0.12, one)]
    there = [f"{frame.x(at):.1f},{frame.y(one.high):.1f}" for at, one in bounds]
    back = [f"{frame.x(at):.1f},{frame.y(one.low):.1f}" for at, one in reversed(bounds)]
    return f'<polygon class="{kind}" points="{" ".join(there + back)}"/>'


def _line(frame: Frame, places: Iterable[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{frame.x(at):.1f},{frame.y(value):.1f}" for at, value in places)
    return f'<polyline class="{kind}" points="{path}"/>'


def _grid(frame: Frame) -> str:
    parts = []
    for tick in _TICKS:
        y = frame.y(tick / 100)
        parts.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{frame.width - _RIGHT:g}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick end" x="{_LEFT - 6:g}" y="{y + 4:.1f}">{tick}</text>'
        )
    return "".join(parts)


def _ticks(frame: Frame, points: Sequence[Point], unit: str) -> str:
    step = next(one for one in (1, 2, 4, 5, 10, 13, 26) if len(points) / one <= 11)
    y = frame.height - _BOTTOM + 16
    parts = [
        f'<text class="tick middle" x="{frame.x(one.at):.1f}" y="{y:g}">{one.at:g}</text>'
        for one in points
        if (one.at - points[0].at) % step == 0
    ]
    middle = (_LEFT + frame.width - _RIGHT) / 2
    parts.append(
        f'<text class="title middle" x="{middle:g}" y="{frame.height - 3:g}">{escape(unit)}</text>'
    )
    return "".join(parts)


def bar(expected: float, likely: Interval, wide: Interval, label: str) -> Markup:
    """Draw one rate with its two ranges on a line from 0 to 100."""
    width, middle = 300, 14

    def x(probability: float) -> float:
        return 8 + (width - 16) * probability

    ticks = "".join(
        f'<line class="grid" x1="{x(tick / 100):.1f}" x2="{x(tick / 100):.1f}" y1="4" y2="24"/>'
        f'<text class="tick middle" x="{x(tick / 100):.1f}" y="38">{tick}</text>'
        for tick in _TICKS
    )
    body = (
        f"{ticks}"
        f'<rect class="wide" x="{x(wide.low):.1f}" width="{x(wide.high) - x(wide.low):.1f}" '
        f'y="{middle - 4}" height="8" rx="4"/>'
        f'<rect class="likely" x="{x(likely.low):.1f}" '
        f'width="{x(likely.high) - x(likely.low):.1f}" y="{middle - 8}" height="16" rx="4"/>'
        f'<circle class="dot" cx="{x(expected):.1f}" cy="{middle}" r="6"/>'
    )
    return _svg(width, 42, label, body, "bar")


def mini(expected: float, likely: Interval) -> Markup:
    """Draw one rate with its likely range, small; the numbers stand beside it."""

    def x(probability: float) -> float:
        return 4 + 132 * probability

    parts = [
        f'<line class="grid" x1="{x(at):g}" x2="{x(at):g}" y1="0" y2="16"/>' for at in (0, 0.5, 1)
    ]
    parts.append(
        f'<rect class="likely" x="{x(likely.low):.1f}" '
        f'width="{x(likely.high) - x(likely.low):.1f}" y="3" height="10" rx="3"/>'
        f'<circle class="dot" cx="{x(expected):.1f}" cy="8" r="4"/>'
    )
    return Markup(  # noqa: S704  # numbers only
        '<svg class="mini" viewBox="0 0 140 16" aria-hidden="true" focusable="false">'
        f"{''.join(parts)}</svg>"
    )


def people(low: int, high: int, label: str) -> Markup:
    """Draw a hundred people: up to `low`, between, and above `high`."""
    parts = []
    for place in range(100):
        kind = "low" if place < low else "between" if place < high else "above"
        x, y = 10 + 20 * (place % 10), 2 + 25 * (place // 10)
        parts.append(f'<use href="#person" class="{kind}" x="{x}" y="{y}"/>')
    return _svg(200, 252, label, "".join(parts), "people")


def forest(
    rate: float, bounds: tuple[float, float], expected: tuple[float, float] | None, n: int
) -> Markup:
    """Draw one cohort's share with its interval, over where it was expected.

    The numbers stand beside it, so it is hidden from those who do not see it.
    """

    def x(share: float) -> float:
        return 4 + 152 * share

    parts = [
        f'<line class="grid" x1="{x(at):g}" x2="{x(at):g}" y1="0" y2="22"/>' for at in (0, 0.5, 1)
    ]
    if expected is not None:
        low, high = expected
        parts.append(
            f'<rect class="likely" x="{x(low):.1f}" width="{x(high) - x(low):.1f}" '
            'y="5" height="12" rx="3"/>'
        )
    size = 2.2 + 2.6 * min(1.0, (n / 200) ** 0.5)
    parts.append(
        f'<line class="reach" x1="{x(bounds[0]):.1f}" x2="{x(bounds[1]):.1f}" y1="11" y2="11"/>'
        f'<circle class="dot" cx="{x(rate):.1f}" cy="11" r="{size:.1f}"/>'
    )
    return Markup(  # noqa: S704  # numbers only
        '<svg class="forest" viewBox="0 0 160 22" aria-hidden="true" focusable="false">'
        f"{''.join(parts)}</svg>"
    )


def forest_axis() -> Markup:
    """Draw the scale above the cohorts."""
    places = ((0, "start"), (50, "middle"), (100, "end"))
    body = "".join(
        f'<text class="{anchor}" x="{4 + 1.52 * at:g}" y="12">{at}</text>' for at, anchor in places
    )
    return Markup(  # noqa: S704  # numbers only
        f'<svg class="forest axis" viewBox="0 0 160 14" aria-hidden="true">{body}</svg>'
    )


def _svg(width: float, height: float, label: str, body: str, kind: str) -> Markup:
    return Markup(  # noqa: S704  # the label is escaped, the rest are numbers
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )
