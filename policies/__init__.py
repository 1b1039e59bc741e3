"""Brains: perception and circuit, their baselines, experts, and shipped weights."""
