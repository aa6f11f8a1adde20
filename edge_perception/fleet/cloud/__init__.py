"""Doubtful frames to servers: what they say comes late, and stands beside what is fused.

The robot never waits: a frame is looked at after its feature has left, and asked about in a thread
of its own.
"""
