"""Recordings: read, write, play and keep MCAP and rosbag2, whole or damaged."""
