"""Types, clocks, mailboxes and errors: NumPy only, no ROS and no inference library."""
