"""Finished tasks on disk, so that a run that was cut off goes on where it was.

Each task's result is one file that appears whole or not at all. A directory belongs to
one specification and model; what is in it is checked before it is used.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.simulation.documents import from_document
from ketacast.simulation.tasks import Arrays, Context, Task

RUN_NAME: Final = "run.json"
TASKS_NAME: Final = "tasks"


class Checkpoint:
    """A directory of finished tasks.

    Parameters
    ----------
    directory : Path
        Made if it does not exist.
    context : Context
        The run it belongs to.

    Raises
    ------
    InputError
        If the directory belongs to another run.
    """

    def __init__(self, directory: Path, context: Context) -> None:
        self._tasks = directory / TASKS_NAME
        self._tasks.mkdir(parents=True, exist_ok=True)
        marker = directory / RUN_NAME
        if not marker.exists():
            write_whole(marker, (json.dumps(asdict(context), indent=2) + "\n").encode("utf-8"))
        elif (known := read_context(directory)) != context:
            if replace(known, clinics=context.clinics) == context:
                raise InputError(
                    f"a clinic profile is not the one with which {directory} was begun; restore "
                    "it, or give another --out"
                )
            raise InputError(
                f"{directory} holds another simulation; give another --out, or continue that one "
                f"with `ketacast simulate resume {directory}`"
            )

    def load(self, task: Task) -> Arrays | None:
        """Read a finished task; None if it is not there or damaged."""
        try:
            # Read first: a damaged archive would be left open.
            content = io.BytesIO(self._file(task).read_bytes())
            with np.load(content, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def save(self, task: Task, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a finished task."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self._file(task), buffer.getvalue())

    def clear(self) -> None:
        """Remove the tasks' files, once the results are written."""
        for file in self._tasks.glob("*.npz"):
            file.unlink()

    def _file(self, task: Task) -> Path:
        return self._tasks / f"{task.name}.npz"


def read_context(directory: Path | str) -> Context:
    """Read which run a directory belongs to.

    Raises
    ------
    InputError
        If it holds no run.
    """
    file = Path(directory) / RUN_NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        clinics = tuple((str(path), str(digest)) for path, digest in content.pop("clinics", ()))
        context = Context(**content, clinics=clinics)
        from_document(json.loads(context.document))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{directory} holds no simulation to go on with ({error}); give the directory that "
            "`ketacast simulate run --out` wrote to"
        ) from error
    return context


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, also if the power fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
