"""Commands of `edge-perception`, one module each."""
