"""Version of the code (the model has its own)."""

__version__ = "0.1.0"
