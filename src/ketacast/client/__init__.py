"""Ask a ketacast service: ``Client`` for scripts, ``AsyncClient`` for asyncio.

Both give the library's own values. They need ``pip install 'ketacast[client]'``; importing
this package alone needs the standard library only.
"""

from __future__ import annotations

from ketacast.client.answers import Record, ServedClinic, ServedPrediction
from ketacast.client.asynchronous import AsyncClient
from ketacast.client.batches import ServedBatch
from ketacast.client.blocking import Client
from ketacast.client.documents import prediction_from_dict
from ketacast.client.errors import ConnectionFailedError, FieldFault, ServiceAnswerError
from ketacast.client.simulation_operations import ServedSimulation

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionFailedError",
    "FieldFault",
    "Record",
    "ServedBatch",
    "ServedClinic",
    "ServedPrediction",
    "ServedSimulation",
    "ServiceAnswerError",
    "prediction_from_dict",
]
