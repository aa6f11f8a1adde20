"""Pictures of a run that a person understands at once, each 1600 px wide."""
