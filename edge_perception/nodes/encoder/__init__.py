"""The encoder node: the messages of one sensor to features."""
