"""Multimodal perception runtime for ROS 2."""

from pkgutil import extend_path

# The generated interfaces (edge_perception.msg, .srv) lie in the install space, under this name.
# In a source tree they are found there, so that tests run on the sources.
__path__ = extend_path(__path__, __name__)
