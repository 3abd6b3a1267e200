"""The routes under ``/v1`` and those an operator's tools ask."""
