"""Learning any policy: demonstrations, imitation, and the run folder they write."""
