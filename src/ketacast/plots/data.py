"""What all plotted data have in common: plain values, and words for the figure."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ketacast.numerics.records import PlainRecord


def studies_counted(count: int) -> str:
    """Write a number of studies."""
    return f"{count} study" if count == 1 else f"{count} studies"


class PlotData(PlainRecord, ABC):
    """The numbers that a figure shows; a frozen dataclass.

    ``to_dict()`` gives them as plain values, ``text()`` in words.
    """

    __slots__ = ()

    @abstractmethod
    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            Text equivalent of the figure. Its first line is a title.
        """
