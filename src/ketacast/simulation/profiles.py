"""Clinic profiles that a specification names: their digests, and where they are after a move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ketacast.errors import ArtifactError, InputError
from ketacast.simulation.specification import AVERAGE, NEW, Specification
from ketacast.updating.profile import Clinic, load_clinic

MOST_BYTES: Final = 10**8
"""Bytes of a profile at most; one has a few hundred thousand."""


def read_profile(path: str) -> Clinic:
    """Read a clinic's own profile.

    Raises
    ------
    InputError
        If there is no such file.
    ArtifactError
        If it is damaged.
    """
    try:
        file = Path(path)
        good = file.is_file() and file.stat().st_size <= MOST_BYTES
    except (OSError, ValueError):  # a path that no system can have
        good = False
    if not good:
        raise InputError(
            f"clinic is {path!r}; give 'new', 'average' or the path of a profile that exists"
        )
    return load_clinic(path)


def digests_of(specification: Specification) -> dict[str, str]:
    """Digests of the profiles that a specification names, by path."""
    names = dict.fromkeys(group.clinic for group in specification.cohort.groups)
    return {name: read_profile(name).sha256 for name in names if name not in (NEW, AVERAGE)}


def locate(
    specification: Specification, digests: Mapping[str, str], near: Path
) -> tuple[Specification, dict[str, str]]:
    """Find profiles again that were moved together with a result.

    Parameters
    ----------
    specification : Specification
    digests : mapping of path to sha256
        Of the profiles that were used.
    near : Path
        Directory of the result: profiles are looked for there, and in the one above it,
        by their path and by their name.

    Returns
    -------
    Specification
        With the paths at which the profiles are now; those that are not found stay.
    dict of str to str
        Digests by these paths.
    """
    moved = {path: _found(path, digest, near) or path for path, digest in digests.items()}
    if all(path == place for path, place in moved.items()):
        return specification, dict(digests)
    groups = tuple(
        replace(group, clinic=moved.get(group.clinic, group.clinic))
        for group in specification.cohort.groups
    )
    cohort = replace(specification.cohort, groups=groups)
    return replace(specification, cohort=cohort), {
        moved[path]: digest for path, digest in digests.items()
    }


def check_located(
    specification: Specification, digests: Mapping[str, str], near: Path | None
) -> None:
    """Refuse to go on without the very profiles that were used.

    Raises
    ------
    InputError
        If one is missing or another one.
    """
    beside = f", nor beside {near}" if near is not None else ""
    for path, digest in digests.items():
        known = _digest(path)
        if not known:
            raise InputError(
                f"the clinic profile {path} is not there{beside}; put the profile with sha256 "
                f"{digest[:12]}... beside the result file"
            )
        if known != digest:
            raise InputError(
                f"the clinic profile {path} has sha256 {known[:12]}..., the one that was used "
                f"{digest[:12]}...; restore that one, or put it beside the result file"
            )
    unknown = digests_of(specification).keys() - digests.keys()
    if unknown:
        raise InputError(
            f"the result records no digest of the clinic profile {min(unknown)}; it was altered"
        )


def _found(path: str, digest: str, near: Path) -> str | None:
    """Where a profile is now; None if it is nowhere."""
    for place in _places(path, near):
        if _digest(place) == digest:
            return place
    return None


def _places(path: str, near: Path) -> Iterator[str]:
    """Beside the result first for a relative path, where it was first for an absolute one."""
    given = Path(path)
    parts = given.parts[1:] if given.is_absolute() else given.parts
    if given.is_absolute():
        yield path
    for directory in (near.absolute(), near.absolute().parent):
        for length in range(len(parts), 0, -1):
            yield str(directory.joinpath(*parts[-length:]))
    if not given.is_absolute():
        yield path


def _digest(path: str) -> str:
    """Digest of a profile; empty if there is none."""
    try:
        return read_profile(path).sha256
    except (InputError, ArtifactError):
        return ""
