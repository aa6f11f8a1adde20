"""Where the time goes: recorded from running nodes, written for Perfetto and as tables."""
