"""Drift: what a model sees and says now, against what it saw and said when it was judged good."""
