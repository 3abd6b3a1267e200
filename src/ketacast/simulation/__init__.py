"""Simulations of treatment courses."""
