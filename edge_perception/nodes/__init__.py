"""ROS 2 nodes: parameters to config, messages to dataclasses, and back. Needs rclpy."""
