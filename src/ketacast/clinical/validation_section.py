"""A part of the validation page, and how its numbers are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page.

    Attributes
    ----------
    title : str
    before, after : tuple of str
        Paragraphs around the table.
    table : tuple of str
        Lines of at most 80 characters.
    figure : tuple of str
        File name and caption; empty for none.
    """

    title: str
    before: tuple[str, ...]
    table: tuple[str, ...]
    after: tuple[str, ...] = ()
    figure: tuple[str, ...] = ()


def two_decimals(value: float) -> str:
    """Print to two decimals, never -0.00."""
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, 2) + 0.0:.2f}"


def limits(pair: Sequence[float]) -> str:
    """Print the ends of a range."""
    return f"{pair[0]:.2f}-{pair[1]:.2f}"


def percent(value: float) -> str:
    """Print a share in whole percent."""
    return f"{100 * value:.0f} %"
