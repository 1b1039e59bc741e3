"""Jobs of `data.py` on recordings, one per file."""
