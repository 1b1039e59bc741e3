"""The bodies of Gymnasium's that walk here, by their short names; nothing heavy is imported."""

BODIES = {"halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5", "hopper": "Hopper-v5"}
"""Gymnasium's ids by the names that jobs use."""
