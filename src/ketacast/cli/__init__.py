"""The command line ``ketacast``."""

from __future__ import annotations

from ketacast.cli.main import main

__all__ = ["main"]
