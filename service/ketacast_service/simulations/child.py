"""The process in which one simulation runs: it slows no answer, and can be ended at any time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import ketacast
from ketacast.errors import ArtifactError, InputError, KetacastError
from ketacast_service.apart import end_with_parent, limit_memory

if TYPE_CHECKING:
    from ketacast.simulation import SimulationResult

COMPILED: Final = "compiled"
"""Directory of the compiled kernel, beside those of simulations, where the package's cannot be
written."""

RESULTS: Final = "results"
"""Directory of the files that are the result."""

MEMORY_BYTES: Final = 3 << 30
"""Address space, of which libraries reserve half without using it."""

_TOO_MUCH: Final = "this needs more memory than is allowed; simulate less at once"

PATIENCE: Final = 10
"""Added to the process's niceness: answers go first."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, in patient-courses."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended.

    Attributes
    ----------
    slug : str
        Kind of problem; empty if its files are written.
    detail : str
        For the client.
    where : str
        For the log: the place in the code, without values.
    is_disk : bool
        Whether the disk failed, so that it can be run once that is mended.
    """

    slug: Literal["", "invalid-input", "too-large", "unavailable", "internal-error"] = ""
    detail: str = ""
    where: str = ""
    is_disk: bool = False


def run(
    connection: Connection, document: str, directory: Path, model: Path | None, sha256: str
) -> None:
    """Run a simulation and say so.

    Parameters
    ----------
    connection : Connection
        Takes :class:`Progress` and one :class:`Ended`.
    document : str
        The specification as JSON; profiles are files of `directory`.
    directory : Path
        Keeps what is done, and the result.
    model : Path or None
        Directory of the model.
    sha256 : str
        Digest that the model must have.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole service, which ends this
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(lambda: os._exit(1))
    with contextlib.suppress(OSError):
        os.nice(PATIENCE)
    with contextlib.suppress(OSError):  # where memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    limit_memory(MEMORY_BYTES)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not os.access(Path(ketacast.__file__).parent, os.W_OK):  # where numba would keep it
        os.environ.setdefault("NUMBA_CACHE_DIR", str(directory.parent / COMPILED))
    os.chdir(directory)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        connection.send(_outcome(connection, document, model, sha256))


def _outcome(connection: Connection, document: str, model: Path | None, sha256: str) -> Ended:
    try:
        _simulate(connection, document, model, sha256)
    except InputError as error:
        return Ended("invalid-input", str(error))
    except MemoryError:
        return Ended("too-large", _TOO_MUCH)
    except (ArtifactError, KetacastError) as error:
        detail = "the service cannot run simulations now; tell its operator, and send it again"
        return Ended("unavailable", detail, f"{type(error).__name__}: {error}")
    except OSError as error:
        return _of_disk(error)
    except Exception as error:  # noqa: BLE001  # told to who asked, and logged
        detail = "the service failed on this simulation; report its id to the operator"
        place = "".join(traceback.format_tb(error.__traceback__))
        return Ended("internal-error", detail, f"{type(error).__name__}\n{place}")
    return Ended()


def _of_disk(error: OSError) -> Ended:
    if error.errno == errno.ENOMEM:
        return Ended("too-large", _TOO_MUCH)
    return Ended("unavailable", where=f"{type(error).__name__}: {error.strerror}", is_disk=True)


def _simulate(connection: Connection, document: str, model: Path | None, sha256: str) -> None:
    from ketacast.simulation.parquet import write_results  # noqa: PLC0415  # NumPy, here only
    from ketacast.simulation.report import write_report  # noqa: PLC0415

    try:
        result = _result(connection, document, model)
    except InputError:  # checked when it was taken on: what was kept is not of this ketacast
        _forget()
        result = _result(connection, document, model)
    if result.model["sha256"] != sha256:
        raise ArtifactError(
            f"the model on disk is {result.model['sha256']}, taken on with {sha256}"
        )
    total = result.specification.patients * result.specification.draws
    connection.send(Progress(total, total))  # also where everything was kept from before
    files = Path(RESULTS)
    write_results(result, files)
    write_report(result, files)
    result.summary().to_csv(files / "summary.csv", index=False)
    if len(result.strategies) > 1:
        result.differences().to_csv(files / "differences.csv", index=False)


def _result(connection: Connection, document: str, model: Path | None) -> SimulationResult:
    from ketacast.simulation.documents import from_document  # noqa: PLC0415
    from ketacast.simulation.running import simulate  # noqa: PLC0415

    return simulate(
        from_document(json.loads(document)),
        model=model,
        directory=Path(),
        report=lambda done, total: connection.send(Progress(done, total)),
    )


def _forget() -> None:
    """Begin again; profiles stay."""
    from ketacast.simulation.checkpoints import RUN_NAME, TASKS_NAME  # noqa: PLC0415

    shutil.rmtree(TASKS_NAME, ignore_errors=True)
    Path(RUN_NAME).unlink(missing_ok=True)
