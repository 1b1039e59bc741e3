"""What `train.py` runs: one job a file."""
