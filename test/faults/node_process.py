"""A node as a process of its own, with parameters, started and killed by a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def start(command, domain, parameters):
    """Start a node with the test's own modules on its path."""
    arguments = [
        part
        for name, value in parameters.items()
        for part in ("-p", f"{name}:={json.dumps(value) if isinstance(value, list) else value}")
    ]
    return subprocess.Popen(
        [*command, "--ros-args", *arguments],
        env={
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(process):
    """Kill it, if it has not ended."""
    if process.poll() is None:
        process.kill()
    process.wait(60)
