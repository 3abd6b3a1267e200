"""Why a caller is refused: a reason code for the log, never an answer to the caller."""

from __future__ import annotations

from ketacast_service.errors import ServiceError


class RefusedError(ServiceError):
    """A key or token does not count.

    Parameters
    ----------
    reason : str
        Code for the log, such as ``expired``; it never holds any of what was presented.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotReadyError(ServiceError):
    """What keys or tokens are checked against cannot be had now.

    Parameters
    ----------
    reason : str
        Code for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
