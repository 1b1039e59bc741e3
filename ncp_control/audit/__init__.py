"""Looking inside a policy: what it sees, what its neurons do, and what is certain about them."""
