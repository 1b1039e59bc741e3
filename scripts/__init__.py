"""Jobs a person runs."""
