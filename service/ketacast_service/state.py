"""What a running worker holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ketacast.predictor import Predictor
from ketacast_service.audit import AuditTrail
from ketacast_service.models import Answers
from ketacast_service.settings import Settings
from ketacast_service.simulations import JobStore, Runner
from ketacast_service.work import Work

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ketacast_service.security import Authenticator


@dataclass(slots=True)
class Service:
    """Everything that answering needs; made at start, closed at the end."""

    settings: Settings
    predictor: Predictor
    answers: Answers
    engine: Engine
    trail: AuditTrail
    authenticator: Authenticator
    work: Work
    jobs: JobStore
    runner: Runner
    later: list[Callable[[], object]] = field(default_factory=list)
    """What is done once the service is ready, so that it is ready sooner."""
