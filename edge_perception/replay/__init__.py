"""Recordings: write, read and play MCAP files that rosbag2 understands."""
