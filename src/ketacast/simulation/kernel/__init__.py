"""The compiled kernel of the engine of individuals (extra ``simulate``: numba)."""
