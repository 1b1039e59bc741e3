"""What `benchmark.py` times."""
