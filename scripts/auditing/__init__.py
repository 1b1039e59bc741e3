"""What `audit.py` puts together: an episode, its parts, its figures and its page."""
