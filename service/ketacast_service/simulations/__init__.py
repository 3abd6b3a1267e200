"""Simulations over HTTP: jobs in the database, run one at a time in a process of their own."""

from __future__ import annotations

from ketacast_service.simulations.jobs import FINISHED, Job, JobFile, Limits
from ketacast_service.simulations.runner import Place, Runner
from ketacast_service.simulations.store import JobStore

__all__ = ["FINISHED", "Job", "JobFile", "JobStore", "Limits", "Place", "Runner"]
