"""What ROS 2 allows as a name: asked before a node is made, so that a wrong one is a line.

https://design.ros2.org/articles/topic_and_service_names.html
"""

from __future__ import annotations

import re

from edge_perception.core.errors import ConfigurationError

# What rmw says of an endpoint whose node it has not discovered yet.
NODE_NAME_UNKNOWN = "_NODE_NAME_UNKNOWN_"
_TOKEN = r"[A-Za-z_][A-Za-z0-9_]*"
_FULL = re.compile(rf"(/{_TOKEN})+", re.ASCII)
_LONGEST = 247  # of a topic as DDS takes it
_RULE = "letters, digits, _ and /, and no digit behind a /"


def topic_problem(name: str) -> str:
    """Return why ROS has no topic of a fully qualified name; empty: it may have one."""
    if not _FULL.fullmatch(name):
        return f"no topic of ROS can be called '{name}': {_RULE}"
    if len(name) > _LONGEST:
        return f"no topic of ROS can have a name of {len(name)} letters, at most {_LONGEST}"
    return ""


def namespace_prefix(namespace: str, where: str = "--namespace") -> str:
    """Return what stands in front of names in a namespace: `/robot`, or nothing for the root.

    Raises:
        ConfigurationError: no namespace of ROS can be called so.
    """
    plain = namespace.strip("/")
    if not plain:
        return ""
    if topic_problem(f"/{plain}"):
        raise ConfigurationError(f"{where}: expected {_RULE}, got '{namespace}'")
    return f"/{plain}"
