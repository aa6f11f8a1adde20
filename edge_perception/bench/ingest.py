"""From the serialised message to arrays: read in place against the typed message of rclpy.

Both ways end at the same converter: pixels, points, samples, the tensors of a feature.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, plot_quantiles
from edge_perception.bench._timing import compare, ratio

NAME = "ingest"
HELP = "serialised messages to arrays: read in place against typed messages"
IN_PLACE, TYPED = "in place", "typed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    rounds, calls = (5, 20) if args.quick else (10, 100)
    cases = {
        name: compare(_ways(*case), rounds=rounds, calls=calls) for name, case in _cases().items()
    }
    cases["feature, written"] = compare(_writers(), rounds=rounds, calls=calls)
    summary = {}
    for name, found in cases.items():
        key = name.replace(", ", "_").replace(" ", "_")
        summary[f"{key}_ratio"] = ratio(found, IN_PLACE, TYPED)
        summary[f"{key}_us"] = found[IN_PLACE]["us"]["p50"]
        summary[f"{key}_bytes"] = found[IN_PLACE]["bytes"]
    result = {"benchmark": NAME, "machine": machine(), "summary": summary, "cases": cases}
    groups = {name: {way: of["us"] for way, of in found.items()} for name, found in cases.items()}
    plot_quantiles(deliver(result, args), groups, "a message, us")
    return 0


def _cases() -> dict[str, tuple[str, bytes, Callable[[Any], Any]]]:
    from edge_perception.bench._transport_roles import cloud_bytes, image_bytes
    from edge_perception.encoders.audio.conversion import block_from_chunk
    from edge_perception.encoders.camera.conversion import image_from_msg
    from edge_perception.encoders.lidar.layout import cloud_view
    from edge_perception.nodes.conversion import FEATURE_TYPE, feature_bytes, feature_from_msg
    from edge_perception.samples.messages import chunk_bytes

    chunk = chunk_bytes(_samples(), sample_rate_hz=16_000, first_index=0)
    return {
        "720p image": ("sensor_msgs/msg/Image", image_bytes(1280, 720), image_from_msg),
        "100k points": ("sensor_msgs/msg/PointCloud2", cloud_bytes(100_000), cloud_view),
        "100 ms sound": ("edge_perception/msg/AudioChunk", chunk, block_from_chunk),
        "feature": (FEATURE_TYPE, feature_bytes(sample_feature()), feature_from_msg),
    }


def _samples() -> Any:
    import numpy as np

    return (np.random.default_rng(2).normal(size=(1600, 1)) * 800).astype(np.int16)


def sample_feature() -> Any:
    """Return a feature as the bundled camera encoder makes it, with twenty boxes."""
    import numpy as np

    from edge_perception.core.types import DetectedObject, Feature, ModelVersion

    box = DetectedObject(
        class_name="car",
        score=0.5,
        center_m=(1.0, 2.0, 0.5),
        size_m=(4.0, 2.0, 1.5),
        yaw_rad=0.1,
        sources=("camera",),
    )
    return Feature(
        stamp_ns=1_700_000_000_000_000_000,
        frame_id="camera",
        source="camera",
        modality="camera",
        model=ModelVersion(role="camera", name="m", version="1.0.0", sha256="0" * 64),
        sequence=1,
        tensors={"bev": np.zeros((1, 24, 96, 64), np.float32)},
        objects=(box,) * 20,
    )


def _ways(
    type_name: str, buffer: bytes, convert: Callable[[Any], Any]
) -> dict[str, Callable[[], Any]]:
    from rclpy.serialization import deserialize_message

    from edge_perception.nodes.topics.message_types import message_type
    from edge_perception.nodes.topics.raw import reader

    read, message_class = reader(type_name), message_type(type_name)
    return {
        IN_PLACE: lambda: convert(read(buffer)),
        TYPED: lambda: convert(deserialize_message(buffer, message_class)),
    }


def _writers() -> dict[str, Callable[[], Any]]:
    from rclpy.serialization import serialize_message

    from edge_perception.nodes.conversion import feature_bytes, feature_msg

    feature = sample_feature()
    return {
        IN_PLACE: lambda: feature_bytes(feature),
        TYPED: lambda: serialize_message(feature_msg(feature)),
    }
