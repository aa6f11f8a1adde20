"""Command lines of the nodes as processes of their own, for supervision without `ros2 launch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edge_perception.running.node_parameters import METRICS, RESOURCES, TRACES
from edge_perception.running.process_plan import encoder_processes
from edge_perception.running.supervision import ProcessSpec

_MODULE = "edge_perception.nodes.executables"
_OBSERVERS = {
    name: f"edge_perception.observe.{name}.executable" for name in (METRICS, RESOURCES, TRACES)
}


def node_processes(
    sources: Sequence[str],
    arguments: Sequence[str],
    *,
    logs: Path | None = None,
    observers: Sequence[str] = (),
) -> list[ProcessSpec]:
    """Return an encoder for each source, fusion and the model manager.

    Args:
        sources: names of the sources; each begins with its modality.
        arguments: ROS arguments of all nodes, without ``--ros-args``.
        logs: folder for a log file each; None: our own output.
        observers: nodes beside them: metrics, resources, traces.
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
    return [
        *specs,
        *(_process(name, (), arguments, logs, module=_OBSERVERS[name]) for name in observers),
    ]


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
