"""What `reproduce.py` runs: one table or figure of the papers a file."""
