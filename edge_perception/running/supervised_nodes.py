"""Command lines of the nodes as processes of their own, for supervision without `ros2 launch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edge_perception.running.process_plan import encoder_processes
from edge_perception.running.supervision import ProcessSpec

_MAIN = "import sys; from edge_perception.nodes.{module} import {function}; sys.exit({function}())"


def node_processes(
    sources: Sequence[str], arguments: Sequence[str], *, logs: Path | None = None
) -> list[ProcessSpec]:
    """Return an encoder for each source, fusion and the model manager.

    Args:
        sources: names of the sources; each begins with its modality.
        arguments: ROS arguments of all nodes, without ``--ros-args``.
        logs: folder for a log file each; None: our own output.
    """
    specs = [
        _process(
            item.node_name,
            "encoder_node",
            item.executable.removesuffix("_encoder"),
            [*arguments, "-r", f"__node:={item.node_name}", "-p", f"source:={item.source}"],
            logs,
        )
        for item in encoder_processes(sources)
    ]
    listed = ["-p", f"sources:=[{','.join(sources)}]"]
    specs.append(_process("fusion", "fusion_node", "main", [*arguments, *listed], logs))
    specs.append(_process("model_manager", "model_manager_node", "main", arguments, logs))
    return specs


def _process(
    name: str, module: str, function: str, arguments: Sequence[str], logs: Path | None
) -> ProcessSpec:
    code = _MAIN.format(module=module, function=function)
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-c", code, "--ros-args", *arguments),
        log=None if logs is None else logs / f"{name}.log",
    )
