"""Looking inside a policy: where it looks, how fast it thinks, what it can never do."""
