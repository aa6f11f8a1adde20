"""Command lines of the nodes as processes of their own, for supervision without `ros2 launch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edge_perception.running.process_plan import encoder_processes
from edge_perception.running.supervision import ProcessSpec

_MODULE = "edge_perception.nodes.executables"
_METRICS = "edge_perception.observe.metrics.executable"
_RESOURCES = "edge_perception.observe.resources.executable"


def node_processes(
    sources: Sequence[str],
    arguments: Sequence[str],
    *,
    logs: Path | None = None,
    metrics: bool = False,
    resources: bool = False,
) -> list[ProcessSpec]:
    """Return an encoder for each source, fusion and the model manager.

    Args:
        sources: names of the sources; each begins with its modality.
        arguments: ROS arguments of all nodes, without ``--ros-args``.
        logs: folder for a log file each; None: our own output.
        metrics: whether there is a metrics node too.
        resources: whether there is a resources node too.
    """
    # All of them are told: they know then which names in a parameter file somebody reads.
    arguments = [*arguments, "-p", f"sources:=[{','.join(sources)}]"]
    specs = [
        _process(
            item.node_name,
            (item.executable, *item.arguments),
            [*arguments, "-r", f"__node:={item.node_name}", "-p", f"source:={item.source}"],
            logs,
        )
        for item in encoder_processes(sources)
    ]
    specs.append(_process("fusion", ("fusion",), arguments, logs))
    specs.append(_process("model_manager", ("model_manager",), arguments, logs))
    if metrics:
        specs.append(_process("metrics", (), arguments, logs, module=_METRICS))
    if resources:
        specs.append(_process("resources", (), arguments, logs, module=_RESOURCES))
    return specs


def _process(
    name: str,
    executable: Sequence[str],
    arguments: Sequence[str],
    logs: Path | None,
    *,
    module: str = _MODULE,
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-m", module, *executable, "--ros-args", *arguments),
        log=None if logs is None else logs / f"{name}.log",
        takes_signals=True,
    )
