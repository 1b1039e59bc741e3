"""Jobs of `reproduce.py`: one table or figure of the papers per file."""
