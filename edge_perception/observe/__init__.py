"""Looking at a running system from outside."""
