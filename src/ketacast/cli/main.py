"""Run a command, turn errors into messages and exit codes.

Nothing heavy is imported here: a point prediction answers in a cold process
without NumPy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ketacast.cli.parser import build_parser
from ketacast.errors import (
    ArtifactError,
    EvidenceError,
    InputError,
    KetacastError,
    RecipeError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(given[0] if given else None).parse_args(given)
    module, _, function = options.run.partition(":")
    try:
        from importlib import import_module  # noqa: PLC0415

        code: int = getattr(import_module(module), function)(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ketacast: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except KetacastError as error:
        print(f"ketacast: {error}", file=sys.stderr)
        return _exit_code(error)
    except MemoryError:
        print(
            "ketacast: there is not enough memory for what was asked; ask for less at a time",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(
            f"ketacast: cannot use {error.filename}: {error.strerror}; "
            "check the path, its permissions and the space left",
            file=sys.stderr,
        )
        return 1
    return code


def _exit_code(error: KetacastError) -> int:
    if isinstance(error, (EvidenceError, RecipeError)):
        return 3
    if isinstance(error, ArtifactError):
        return 4
    return 2 if isinstance(error, InputError) else 1
