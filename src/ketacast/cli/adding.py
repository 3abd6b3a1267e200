"""What the parts of the parser are given to add their commands with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # argparse has no public name for it

Command: TypeAlias = Callable[[Commands, str, str, str, str], argparse.ArgumentParser]
"""Adds one command: to what, name, help, examples, and the function that runs it."""
