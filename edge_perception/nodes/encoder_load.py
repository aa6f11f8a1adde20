"""Load control of an encoder node: its models, memory and log."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from rclpy.node import Node

from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.load import EncoderLoad, StandIns
from edge_perception.encoders.load_control import LoadEvent, LoadOptions
from edge_perception.models.folders import find_bundle
from edge_perception.models.loading import LoadedModel, ModelOptions, model_folders
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.models.model_cache import ModelCache
from edge_perception.releases.model_sizes import peak_memory_bytes

_MB = 2**20


def encoder_load(
    node: Node,
    options: LoadOptions,
    spec: EncoderSpec,
    *,
    model: ModelOptions,
    load: Callable[[str], LoadedModel],
    beside: Callable[[], list[Bundle]],
) -> EncoderLoad:
    """Return the load control of a source; nothing is loaded before it is needed.

    Args:
        node: gives the log.
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

    def on_event(event: LoadEvent) -> None:
        text = f"load control: step {event.number}: {event.step}: {event.reason}"
        if event.back:
            node.get_logger().info(text)
        else:  # rclpy refuses another severity from the same line
            node.get_logger().warning(text)

    models = ModelCache[LoadedModel](
        limit_bytes=options.models_mb * _MB,
        size_bytes=size_bytes,
        load=load,
        release=release_model,
        beside_bytes=beside_bytes,
    )
    return EncoderLoad(options, spec, StandIns(spec, models), on_event)
