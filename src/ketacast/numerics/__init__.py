"""Numerics: arrays in, frozen dataclasses out; no files, no printing."""
