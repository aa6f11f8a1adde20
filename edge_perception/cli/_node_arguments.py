"""ROS arguments that commands give to every node they start."""

from __future__ import annotations

import argparse

from edge_perception.core.ros_names import namespace_prefix


def common_arguments(args: argparse.Namespace) -> list[str]:
    """Return what `--namespace` and `--use-sim-time` mean to a node, without ``--ros-args``."""
    arguments = []
    if namespace := namespace_prefix(args.namespace):
        arguments += ["-r", f"__ns:={namespace}"]
    if args.use_sim_time:
        arguments += ["-p", "use_sim_time:=true"]
    return arguments
