"""Parts of `audit.py`: the episode, the measurements, the figures and the page."""
