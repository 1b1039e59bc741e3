"""Policies and experts that act in simulated worlds, one or many at once, and are recorded."""
