"""What `data.py` does with recordings: one job a file."""
