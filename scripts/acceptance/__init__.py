"""What `accept_gpu.py` checks and measures on a GPU."""
