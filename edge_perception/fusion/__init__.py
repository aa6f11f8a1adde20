"""Fusion: from the latest features of each source to one view; NumPy only, no clock, no threads."""
