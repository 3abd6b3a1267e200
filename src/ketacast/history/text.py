"""A count as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from ketacast.history.result import Era, HistoryCount, Judgement

WIDTH: Final = 88
_COUNTED: Final = {
    (True, True): "yes",
    (False, True): "perhaps",
    (False, False): "no",
}


def count_lines(counted: HistoryCount) -> list[str]:
    """Write a count as a short table with reasons."""
    now = f"{counted.current_episode!s:<9} (usual rule {counted.usual_current_episode})"
    lines = [
        f"Failed antidepressant trials as of {counted.as_of}",
        "",
        f"  current episode   {now if counted.treated_now else 'no treatment in the records'}",
        f"  lifetime          {counted.lifetime!s:<9} (usual rule {counted.usual_lifetime})",
    ]
    if counted.own_count is not None:
        lines.append(f"  own count         {counted.own_count!s:<9} (used)")
    lines.append("")
    lines += list(_era_lines(counted.eras))
    for title, entries in (
        ("Reported, not counted:", [f"{r.name}: {r.sentence}" for r in counted.reported]),
        (
            "Not a treatment:",
            [f"{u.ingredient} ({u.source}): {u.reason}" for u in counted.set_aside],
        ),
        ("Could not be read:", [f"{u.source}: {u.reason}" for u in counted.unread]),
    ):
        if entries:
            lines += [title, *_limited(entries), ""]
    lines += [line for flag in counted.flags for line in _wrapped(f"! {flag.message}")]
    lines += [line for notice in counted.notices for line in _wrapped(f"! {notice}")]
    return lines


def _era_lines(eras: tuple[Era, ...]) -> Iterator[str]:
    if not eras:
        yield "  no antidepressant treatment in the records"
        yield ""
        return
    yield f"  {'counted':<8} {'drug':<15} {'from':<11} {'to':<11} {'mg a day':>8} {'weeks':>6}"
    for era in eras:
        if era.reason.code == "same_drug":
            continue
        dose = "?" if era.highest_mg is None else f"{era.highest_mg:g}"
        end = "going on" if era.ongoing else (era.end or "?")
        yield (
            f"  {counted_word(era.strict, era.lenient):<8} {era.ingredient[:15]:<15} "
            f"{(era.start or '?')[:11]:<11} {end[:11]:<11} {dose:>8} {era.weeks:>6.0f}"
        )
        for reason in era.reasons:
            yield from _wrapped(reason.sentence, "           ")
    repeated = [f"{e.ingredient} {e.start}" for e in eras if e.reason.code == "same_drug"]
    if repeated:
        yield ""
        yield from _wrapped("Further courses of drugs that are counted already:", "  ")
        yield from _wrapped(", ".join(repeated), "    ")
    yield ""


def counted_word(strict: Judgement, lenient: Judgement) -> str:
    """Write whether a treatment is counted for the current episode, else for the lifetime."""
    word = _COUNTED[strict.current, lenient.current or strict.current]
    return "earlier" if word == "no" and lenient.lifetime else word


def _limited(entries: list[str], most: int = 12) -> Iterator[str]:
    for entry in entries[:most]:
        yield from _wrapped(entry, "  ")
    if len(entries) > most:
        yield f"  ... and {len(entries) - most} more"


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent=indent, subsequent_indent=indent + ("  " if not indent else "")
    )
