"""CDS Hooks 2.0: cards on a ketamine course, written from a chart and a prediction."""

from __future__ import annotations

from ketacast_service.cds_hooks.outcomes import refusal
from ketacast_service.cds_hooks.routes import CdsHooks

__all__ = ["CdsHooks", "refusal"]
