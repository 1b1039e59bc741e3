"""What `monitor.py` does."""
