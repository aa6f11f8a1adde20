"""What a node says of the models that it serves and keeps."""

from __future__ import annotations

import contextlib
import json
import os

from rclpy.node import Node

from edge_perception import msg
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.process_memory import RESIDENT, memory_bytes
from edge_perception.models.device_plan import planned_options
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.models.manifest import Bundle
from edge_perception.nodes.conversion import model_msg, time_msg
from edge_perception.releases.admission import way_of

KEPT = "previous"  # slot of a model that served before and is still loaded


def model_info(
    node: Node,
    loaded: LoadedModel,
    options: ModelOptions,
    *,
    role: str,
    since_ns: int,
    frames_served: int,
    last_error: str = "",
) -> msg.ModelInfo:
    """Describe a model that `node` serves as `role` since a time on the node clock.

    The manager tries a candidate in the way that `options` and the device plan say.
    """
    return msg.ModelInfo(
        model=model_msg(loaded.bundle.version_for(role)),
        slot="current",
        node=node.get_fully_qualified_name(),
        provider=loaded.info.provider,
        precision=loaded.bundle.manifest.runtime.precision,
        since=time_msg(since_ns),
        frames_served=frames_served,
        last_error=last_error,
        runs_as=_runs_as(options, role),
        process_memory_mb=_resident_mb(),
        process_id=os.getpid(),
    )


def _runs_as(options: ModelOptions, role: str) -> str:
    with contextlib.suppress(
        ConfigurationError
    ):  # a plan that is gone holds as long as it is loaded
        options = planned_options(options, role).options
    return json.dumps(way_of(options))


def _resident_mb() -> float:
    """Return the resident memory of this process; 0: the machine does not tell."""
    try:
        return memory_bytes(RESIDENT) / 2**20
    except OSError:
        return 0.0


def kept_infos(current: msg.ModelInfo, bundle: Bundle | None) -> list[msg.ModelInfo]:
    """Describe the model before `current`, where it is still loaded."""
    if bundle is None:
        return []
    model = model_msg(bundle.version_for(current.model.role))
    return [msg.ModelInfo(model=model, slot=KEPT, node=current.node, provider=current.provider)]
