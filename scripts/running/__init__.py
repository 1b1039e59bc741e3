"""The jobs of `monitor.py`."""
