"""Benchmarks: each a comparison within one run, the set-ups taking turns."""
