"""One record of a drug that was taken, or may have been: when, how much, what for."""

from __future__ import annotations

from typing import Final, NamedTuple

from ketacast.history.concepts import Diagnosis, Outcome
from ketacast.history.dates import Days
from ketacast.history.dosage import Dose
from ketacast.history.drugs import Product


class Span(NamedTuple):
    """When a drug was taken, as far as a record tells.

    ``first`` to ``last`` is what may be, ``sure_first`` to ``sure_last`` what is
    certain (none if it ends before it begins). ``outer_last`` is the last day at all
    that the treatment may have lasted if its length is known but not its place.
    """

    first: int
    last: int
    sure_first: int
    sure_last: int
    outer_last: int
    ended: bool
    open: bool
    start: Days | None
    end: Days | None
    notes: tuple[str, ...] = ()


class Exposure(NamedTuple):
    """A drug, a span of days and a dose, from one record."""

    product: Product
    span: Span
    dose: Dose
    kind: str
    source: str
    outcome: Outcome = ""
    use: Diagnosis = ""
    use_label: str = ""
    as_needed: bool = False
    dated: bool = True
    in_force: bool = False


NO_SPAN: Final = (1, 0)


def supplied_span(
    start: Days,
    sure_days: int,
    most_days: int,
    *,
    known: bool,
    ended: bool,
    note: str = "",
) -> Span:
    """Span of a supply that begins at a date and lasts for a number of days.

    Parameters
    ----------
    start : Days
        First day, as precisely as it is recorded.
    sure_days, most_days : int
        Length for certain, and at most.
    known : bool
        The length is recorded (so only the place of the treatment is uncertain if
        its date is imprecise), rather than assumed.
    ended : bool
        The treatment is recorded as ended.
    note : str
        Code of an assumption.
    """
    most = max(most_days, 1) - 1
    is_exact = start.first == start.last
    last, outer_last = start.first + most, start.last + most
    sure_first, sure_last = NO_SPAN
    if sure_days > 0 and (known or is_exact):
        sure_first, sure_last = start.first, start.first + sure_days - 1
    notes = (note,) if note else ()
    if not is_exact:
        notes = (*notes, "imprecise_date")
    end = Days(last, outer_last) if known else None
    return Span(
        start.first, last, sure_first, sure_last, outer_last, ended, not known, start, end, notes
    )


def period_span(start: Days, end: Days, *, ended: bool) -> Span:
    """Span of a period with both ends recorded, precisely or not."""
    imprecise = start.first != start.last or end.first != end.last
    sure = (start.last, end.first) if start.last <= end.first else NO_SPAN
    return Span(
        start.first,
        end.last,
        *sure,
        end.last,
        ended,
        False,
        start,
        end,
        ("imprecise_date",) if imprecise else (),
    )


def clipped(span: Span, as_of: int) -> Span | None:
    """Cut a span at the index date; None if it begins later."""
    if span.first > as_of:
        return None
    if span.outer_last <= as_of:
        return span
    sure_last = min(span.sure_last, as_of)
    return span._replace(
        last=min(span.last, as_of),
        outer_last=as_of,
        sure_last=sure_last,
        # What lasts beyond the index date has not ended by then.
        ended=span.ended and (span.end is None or span.end.first <= as_of),
    )
