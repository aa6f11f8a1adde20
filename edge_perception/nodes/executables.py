"""The executables of the nodes: signals end them from here on, before a second of imports.

Also `python -m edge_perception.nodes.executables NAME …`, where they are not on a path.
"""

from __future__ import annotations

import functools
import importlib
import sys

from edge_perception.running.ending import watch_signals


def _run(module: str, function: str) -> int:
    watch_signals()
    return int(getattr(importlib.import_module(f"edge_perception.nodes.{module}"), function)())


encoder = functools.partial(_run, "encoder.node", "main")
camera_encoder = functools.partial(_run, "encoder.node", "camera")
lidar_encoder = functools.partial(_run, "encoder.node", "lidar")
audio_encoder = functools.partial(_run, "encoder.node", "audio")
fusion = functools.partial(_run, "fusion.node", "main")
model_manager = functools.partial(_run, "manager.node", "main")
perception = functools.partial(_run, "composition", "main")

if __name__ == "__main__":
    sys.exit(globals()[sys.argv.pop(1)]())
