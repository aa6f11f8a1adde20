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


encoder = functools.partial(_run, "encoder_node", "main")
camera_encoder = functools.partial(_run, "encoder_node", "camera")
lidar_encoder = functools.partial(_run, "encoder_node", "lidar")
audio_encoder = functools.partial(_run, "encoder_node", "audio")
fusion = functools.partial(_run, "fusion_node", "main")
model_manager = functools.partial(_run, "model_manager_node", "main")
perception = functools.partial(_run, "composition", "main")

if __name__ == "__main__":
    sys.exit(globals()[sys.argv.pop(1)]())
