"""A policy in its world: driving and walking put together, measured, filmed and reported."""
