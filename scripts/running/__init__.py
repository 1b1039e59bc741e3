"""What `run.py` and `monitor.py` do."""
