"""Multimodal perception runtime for ROS 2."""
