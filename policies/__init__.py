"""Policies: recipes of circuits and their baselines, experts, and shipped weights."""
