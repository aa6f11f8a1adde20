"""Offline validation: replays compared with a baseline, and the reports of it."""
