"""A running system on a terminal, and as JSON."""
