"""The lookup page: one look, one honest answer. It formats predictions and computes none."""
