"""The jobs of `train.py`, one per file."""
