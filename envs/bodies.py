"""Short names of Gymnasium's walking robots; imports nothing heavy."""

BODIES = {"halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5", "hopper": "Hopper-v5"}
"""Gymnasium ids by the short names that jobs use."""
