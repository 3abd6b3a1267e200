"""The audit trail: an append-only chain of every answer."""

from ketacast_service.audit.chain import Entry, Record
from ketacast_service.audit.trail import AuditTrail

__all__ = ["AuditTrail", "Entry", "Record"]
