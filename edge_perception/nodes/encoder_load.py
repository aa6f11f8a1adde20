"""Load control of an encoder node: its models, memory, log and events."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from rclpy.node import Node

from edge_perception import msg
from edge_perception.core.bounds import clipped
from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.load import EncoderLoad, StandIns
from edge_perception.encoders.load_control import LoadEvent, LoadOptions
from edge_perception.models.folders import find_bundle
from edge_perception.models.loading import LoadedModel, ModelOptions, model_folders
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.models.model_cache import ModelCache
from edge_perception.nodes import qos
from edge_perception.releases.model_sizes import peak_memory_bytes

_MB = 2**20


class LoadEvents:
    """Tells each step of a source: in the log, and on the latched topic `load_events`."""

    def __init__(self, node: Node, source: Callable[[], str]) -> None:
        self._node, self._source = node, source
        self._publisher = node.create_publisher(msg.LoadEvent, "load_events", qos.EVENTS)
        self._sequence = 0

    def tell(self, event: LoadEvent) -> None:
        """Tell of a step; from the inference thread."""
        self._publisher.publish(
            msg.LoadEvent(
                stamp=self._node.get_clock().now().to_msg(),
                source=self._source(),
                sequence=self._sequence,
                step=event.number,
                last_step=event.last,
                back=event.back,
                given_up=str(event.step) if event.number else "",
                reason=clipped(event.reason),
            )
        )
        self._sequence += 1
        text = f"load control: step {event.number} of {event.last}: {event.step}: {event.reason}"
        if event.back:
            self._node.get_logger().info(text)
        else:  # rclpy refuses another severity from the same line
            self._node.get_logger().warning(text)


def encoder_load(
    events: LoadEvents,
    options: LoadOptions,
    spec: EncoderSpec,
    *,
    model: ModelOptions,
    load: Callable[[str], LoadedModel],
    beside: Callable[[], list[Bundle]],
) -> EncoderLoad:
    """Return the load control of a source; nothing is loaded before it is needed.

    Args:
        events: hear of each step.
        options: what may be given up.
        spec: the modality.
        model: how models run.
        load: loads the bundle of a name beside what serves.
        beside: bundles that the node has loaded by itself.

    Raises:
        ConfigurationError: the options contradict each other.
    """

    @cache
    def measured(sha256: str, name: str) -> int:  # noqa: ARG001
        return peak_memory_bytes(find_bundle(name, model_folders(model.model_folders)), model)

    def size_bytes(name: str) -> int:
        return measured(find_bundle(name, model_folders(model.model_folders)).sha256, name)

    def beside_bytes() -> int:
        return sum(bundle.manifest.resources.peak_memory_bytes for bundle in beside())

    models = ModelCache[LoadedModel](
        limit_bytes=options.models_mb * _MB,
        size_bytes=size_bytes,
        load=load,
        release=release_model,
        beside_bytes=beside_bytes,
    )
    return EncoderLoad(options, spec, StandIns(spec, models), events.tell)
