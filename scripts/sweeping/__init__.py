"""The job of `sweep.py`."""
