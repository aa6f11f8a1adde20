"""Hostile input for everything that reads a message or a parameter.

Each input is a valid one with a few fields made wrong: sizes that lie, truncated or random data,
numbers at the ends of their types, NaN and Inf, long and odd strings. The only answers allowed are
a result and an error of this package; anything else is a crash, and an answer that takes longer
than a second is a hang.
"""

from __future__ import annotations

import dataclasses
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.schema import decode
from edge_perception.core.types import Instant
from edge_perception.encoders import encoders, source_defaults
from edge_perception.encoders.audio.encoder import AudioIntake
from edge_perception.encoders.camera.camera_info import geometry_from_camera_info
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.health import HealthLimits
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.watchdog import WatchdogLimits
from edge_perception.faults.frames import Frames, plain
from edge_perception.faults.injector import parse_injection
from edge_perception.faults.virtual import _bundle
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    FusionConfig,
    SourceConfig,
)
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.policy import DegradationPolicy

HANG_S = 1.0
_SIZES = (0, 1, 2, 3, 7, 16, 255, 4096, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 1e308, float("nan"), float("inf"), -float("inf"))
_TEXTS = ("", "bgr8", "mono16", "16UC1", "jpeg", "s16le", "f32le", "x" * 5000, "\0", "a\nb", "日本")
_ENCODINGS = ("rgb8", "bgra8", "mono8", "mono16", "yuv422", "nv12", "bayer_rggb8", "8UC3", "32FC1")

Target = Callable[[random.Random], None]


@dataclass(kw_only=True)
class FuzzReport:
    """What came of the inputs."""

    inputs: int = 0
    refused: Counter = field(default_factory=Counter)
    accepted: Counter = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    memory_growth_mb: float = 0.0
    took_s: float = 0.0


def fuzz(inputs: int, *, seed: int = 0, more: dict[str, Target] | None = None) -> FuzzReport:
    """Feed inputs to all targets in turn.

    Args:
        inputs: how many.
        seed: equal seeds give equal inputs.
        more: further targets, for example those that need ROS.
    """
    targets = {**make_targets(), **(more or {})}
    names, report = list(targets), FuzzReport()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    for number in range(inputs):
        name = names[number % len(names)]
        chosen = random.Random(f"{seed}/{number}")
        start = time.monotonic()
        try:
            targets[name](chosen)
            report.accepted[name] += 1
        except EdgePerceptionError:
            report.refused[name] += 1
        except Exception as error:
            report.crashes.append(f"{name}, input {seed}/{number}: {error!r}")
        took_s = time.monotonic() - start
        report.slowest_s = max(report.slowest_s, took_s)
        if took_s > HANG_S:
            report.hangs.append(f"{name}, input {seed}/{number}: {took_s:.1f} s")
        report.inputs += 1
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.memory_growth_mb = (after_kb - before_kb) / 1024
    report.took_s = time.monotonic() - began
    return report


def make_targets() -> dict[str, Target]:
    """Return what reads messages and parameters, by name; needs no ROS."""
    frames = Frames(plain)
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    jpeg = bytes(cv2.imencode(".jpg", picture)[1])
    png = bytes(cv2.imencode(".png", picture)[1])
    audio = AudioIntake(_bundle("audio").manifest)

    def image(chosen: random.Random) -> None:
        message = frames.frame("camera", 1)
        message.width, message.height, message.step = 32, 24, 96
        message.data, message.encoding = picture.tobytes(), chosen.choice(("bgr8", *_ENCODINGS))
        _spoil(message, chosen, ("width", "height", "step", "encoding", "data", "is_bigendian"))
        image_from_msg(message)

    def compressed(chosen: random.Random) -> None:
        message = plain("sensor_msgs/msg/CompressedImage")
        message.format, message.data = "jpeg", chosen.choice((jpeg, png))
        _spoil(message, chosen, ("data", "data", "format"))
        image_from_msg(message)

    def cloud(chosen: random.Random) -> None:
        message = frames.frame("lidar", 1)
        message.width, message.row_step = 40, 640
        message.data = bytes(message.data[:640])
        if chosen.random() < 0.5:
            _spoil(chosen.choice(message.fields), chosen, ("name", "offset", "datatype", "count"))
        names = ("width", "height", "point_step", "row_step", "data", "is_bigendian", "is_dense")
        _spoil(message, chosen, names)
        cloud_from_msg(message)

    def sound(chosen: random.Random) -> None:
        message = frames.frame("audio", chosen.choice((1, 10**18)))
        message.data = bytes(message.data[: 4 * chosen.choice((1, 16, 160))])
        names = ("sample_rate", "channels", "format", "first_sample_index", "data")
        _spoil(message, chosen, names)
        audio.accept(message)

    def calibration(chosen: random.Random) -> None:
        message = plain("sensor_msgs/msg/CameraInfo")
        message.width, message.height, message.distortion_model = 640, 480, "plumb_bob"
        message.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
        message.p = [500.0, 0.0, 320.0, 0.0, 0.0, 500.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        message.r, message.d = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0] * 5
        message.binning_x = message.binning_y = 0
        message.roi = plain("sensor_msgs/msg/RegionOfInterest")
        message.roi.x_offset = message.roi.y_offset = message.roi.width = message.roi.height = 0
        message.roi.do_rectify = False
        for name in chosen.sample(("k", "p", "d", "r"), chosen.randint(0, 2)):
            values = list(getattr(message, name))
            values[chosen.randrange(len(values))] = chosen.choice(_FLOATS)
            setattr(message, name, values)
        if chosen.random() < 0.3:
            message.d = [chosen.choice(_FLOATS)] * chosen.choice((0, 4, 5, 8, 300))
        _spoil(message, chosen, ("width", "height", "distortion_model", "binning_x"), least=0)
        geometry_from_camera_info(message)

    return {
        "Image": image,
        "CompressedImage": compressed,
        "PointCloud2": cloud,
        "AudioChunk": sound,
        "CameraInfo": calibration,
        "parameters": _parameters,
        "fault description": _description,
    }


def _spoil(message: Any, chosen: random.Random, names: tuple[str, ...], *, least: int = 1) -> None:
    """Make a few fields wrong, each with a value its ROS type can hold."""
    for name in chosen.sample(names, chosen.randint(least, min(3, len(names)))):
        value = getattr(message, name)
        if isinstance(value, bool):
            value = not value
        elif isinstance(value, int):
            value = chosen.choice(_SIZES) if chosen.random() < 0.5 else chosen.randrange(200)
        elif isinstance(value, str):
            value = chosen.choice((*_TEXTS, *_ENCODINGS, "x", "y", "z"))
        else:
            value = _spoiled_bytes(bytes(value), chosen)
        setattr(message, name, value)


def _spoiled_bytes(data: bytes, chosen: random.Random) -> bytes:
    kind = chosen.randrange(4)
    if kind == 0:
        return data[: chosen.randrange(len(data) + 1)]
    if kind == 1:
        return data + chosen.randbytes(chosen.randrange(64))
    if kind == 2:
        return chosen.randbytes(chosen.randrange(256))
    spoiled = bytearray(data)
    for _ in range(chosen.randint(1, 8)):
        if spoiled:
            spoiled[chosen.randrange(len(spoiled))] = chosen.randrange(256)
    return bytes(spoiled)


def _configurations() -> tuple[type, ...]:
    limits = [spec.content.limits for spec in encoders().specs.values() if spec.content]
    fixed = (CycleConfig, SourceConfig, DecisionConfig, HealthLimits, WatchdogLimits, LoadOptions)
    return (*fixed, DegradationPolicy, *limits)


def _parameters(chosen: random.Random) -> None:
    """Decode a configuration with values of any kind; what is accepted must be usable."""
    cls = chosen.choice(_configurations())
    data: dict[str, Any] = {"source": "camera", "modality": "camera"} if cls is SourceConfig else {}
    if cls is DegradationPolicy:
        data = {"schema_version": 1, "modes": [{"mode": "none", "action": "invalid"}]}
    names = [item.name for item in dataclasses.fields(cls)]
    for name in chosen.sample(names, chosen.randint(1, min(4, len(names)))):
        data[name] = _any_value(chosen)
    config: Any = decode(cls, data, cls.__name__)
    if cls in (CycleConfig, SourceConfig):
        source = SourceConfig(**source_defaults("camera"))
        cycle = CycleConfig()
        whole = FusionConfig(
            sources=(config if cls is SourceConfig else source,),
            cycle=config if cls is CycleConfig else cycle,
        )
        now = Instant(node_ns=10**18, steady_ns=0)
        Fusion(config=whole, now=now).poll(Instant(node_ns=10**18 + 10**9, steady_ns=10**9))


def _any_value(chosen: random.Random) -> Any:
    kind = chosen.randrange(7)
    if kind == 0:
        return chosen.choice(_FLOATS)
    if kind == 1:
        return chosen.choice((*_SIZES, -1, -(2**63), 2**63))
    if kind == 2:
        return chosen.choice(_TEXTS)
    if kind == 3:
        return chosen.choice((True, False, None))
    if kind == 4:
        return [_any_value(chosen) for _ in range(chosen.randrange(3))]
    if kind == 5:
        return {chosen.choice(_TEXTS): _any_value(chosen)}
    return chosen.uniform(0.0, 2.0)


def _description(chosen: random.Random) -> None:
    alphabet = "frozen:camera1-2,.eé\0 "
    text = "".join(chosen.choice(alphabet) for _ in range(chosen.randrange(40)))
    parse_injection(chosen.choice((text, f"frozen:camera:{text}", "dead:lidar:1-2")))
