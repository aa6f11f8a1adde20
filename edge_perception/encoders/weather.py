"""Fog as every modality that sees through it should know it."""

# Extinction coefficient of fog 1.0, 1/m: a visibility of 50 m by Koschmieder's law (3.0 / beta).
FOG_BETA = 0.06
