"""What `sweep.py` does."""
