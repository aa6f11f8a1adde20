"""Faults between sensors and nodes: injected into streams, run as a matrix, judged alike."""
