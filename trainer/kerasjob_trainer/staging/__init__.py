"""Bringing a worker's program and data into place before any ring. Run by the agent in a thread."""
