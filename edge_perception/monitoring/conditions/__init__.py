"""Conditions: light, weather, lens and place, from cheap statistics of the sensors."""
