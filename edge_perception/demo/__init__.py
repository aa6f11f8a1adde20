"""The demo: a recording, the real nodes, a pulled sensor, and a report a person understands."""
