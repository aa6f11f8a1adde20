"""What one node of ours says to another: both ends of a topic or a service."""
