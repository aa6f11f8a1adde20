"""Why there is no output: observes a running system from outside and names the causes."""
