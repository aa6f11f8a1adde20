"""The resources of the machine as a part of the running system."""
