"""Lists that are given a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query

from ketacast_service.calls import Reply
from ketacast_service.models import as_json

After = Annotated[
    UUID | None, Query(description="only what comes behind this one, in the order of ids")
]
Limit = Annotated[int, Query(ge=1, le=100, description="at most so many")]


def page(name: str, found: Sequence[dict[str, Any]], limit: int) -> Reply:
    """Return a page and where the next one begins.

    Parameters
    ----------
    name : str
        What is listed.
    found : sequence of dict
        One more than `limit` if there are so many; each with its ``id``.
    limit : int
        Entries of a page.
    """
    more = found[limit - 1]["id"] if len(found) > limit else None
    return Reply(as_json({name: list(found[:limit]), "next": more}))
