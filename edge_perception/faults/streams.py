"""Faults of a stream of messages, by name: what a message becomes, and when it is delivered.

A fault is a function of (message, context) that returns deliveries: (delay in seconds, message).
None is delivered by an empty list. Messages are read and written by attribute, so that faults work
on ROS messages and plain objects; the original is never changed.
"""

# ruff: noqa: ARG001 (all faults have one signature)

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import UnknownNameError
from edge_perception.faults.frames import as_bytes, set_stamp, stamp_of

NS = 1_000_000_000
Delivery = tuple[float, Any]


@dataclass(kw_only=True)
class Context:
    """What a fault knows of its stream while it lasts."""

    period_s: float
    rng: np.random.Generator
    make: Callable[[str], Any]  # an empty message of a type
    count: int = 0  # messages since the fault began
    since_s: float = 0.0  # how long the fault lasts already
    kept: dict[str, Any] = field(default_factory=dict)  # whatever the fault wants to remember


StreamFault = Callable[[Any, Context], list[Delivery]]


@dataclass(frozen=True, kw_only=True)
class FaultSpec:
    """A fault that can be injected into a stream."""

    name: str
    apply: StreamFault
    text: str
    modalities: tuple[str, ...] = ("camera", "lidar", "audio")


FAULTS: dict[str, FaultSpec] = {}


def fault(*modalities: str) -> Callable[[StreamFault], StreamFault]:
    """Register a function as the fault of its name; its docstring is what users read."""

    def register(function: StreamFault) -> StreamFault:
        name = function.__name__
        spec = FaultSpec(
            name=name,
            apply=function,
            text=(function.__doc__ or "").strip(),
            **({"modalities": modalities} if modalities else {}),
        )
        FAULTS[name] = spec
        return function

    return register


def fault_named(name: str) -> FaultSpec:
    """Return a fault by name; an unknown name is answered with the known ones."""
    if name not in FAULTS:
        raise UnknownNameError(kind="fault", name=name, known=list(FAULTS))
    return FAULTS[name]


def restamped(message: Any, stamp_ns: int, **changes: Any) -> Any:
    """Return a copy with another stamp and other fields."""
    other = copy.copy(message)
    other.header = copy.deepcopy(message.header)
    for name, value in changes.items():
        setattr(other, name, value)
    return set_stamp(other, stamp_ns)


def changed(message: Any, **changes: Any) -> list[Delivery]:
    """Deliver a copy with other fields, at once."""
    return [(0.0, restamped(message, stamp_ns=stamp_of(message), **changes))]


# -- delivery --


@fault()
def dead(message: Any, context: Context) -> list[Delivery]:
    """Nothing arrives."""
    return []


@fault()
def lose_one(message: Any, context: Context) -> list[Delivery]:
    """One message is lost, every ten."""
    return [] if context.count % 10 == 1 else [(0.0, message)]


@fault()
def lose_half(message: Any, context: Context) -> list[Delivery]:
    """Half of the messages are lost at random."""
    return [] if context.rng.random() < 0.5 else [(0.0, message)]


@fault()
def bursts(message: Any, context: Context) -> list[Delivery]:
    """Five messages are held and come at once."""
    return [((4 - context.count % 5) * context.period_s, message)]


@fault()
def reorder(message: Any, context: Context) -> list[Delivery]:
    """Every second message is overtaken by the next one."""
    return [(1.3 * context.period_s if context.count % 2 else 0.0, message)]


@fault("camera", "lidar")
def half_rate(message: Any, context: Context) -> list[Delivery]:
    """Every second message is left out."""
    return [] if context.count % 2 else [(0.0, message)]


@fault("camera", "lidar")
def double_rate(message: Any, context: Context) -> list[Delivery]:
    """A second message half a period later, with its own stamp and noise."""
    half_s = context.period_s / 2
    data = np.frombuffer(message.data, np.uint8).copy()
    if hasattr(message, "encoding"):
        data ^= context.rng.integers(0, 2, data.size, dtype=np.uint8)
    else:
        data.view(np.float32)[::4] += np.float32(1e-3)
    later = restamped(message, stamp_of(message) + round(half_s * NS), data=as_bytes(data))
    return [(0.0, message), (half_s, later)]


# -- stamps --


@fault()
def duplicate_stamp(message: Any, context: Context) -> list[Delivery]:
    """Every message carries the first one's stamp."""
    first = context.kept.setdefault("stamp", stamp_of(message))
    return [(0.0, restamped(message, first) if context.count else message)]


@fault()
def zero_stamp(message: Any, context: Context) -> list[Delivery]:
    """The stamp is zero."""
    return [(0.0, restamped(message, 0))]


@fault()
def future_stamp(message: Any, context: Context) -> list[Delivery]:
    """The stamp is five seconds ahead."""
    return [(0.0, restamped(message, stamp_of(message) + 5 * NS))]


@fault()
def backward_stamp(message: Any, context: Context) -> list[Delivery]:
    """Stamps run backwards from the first one on."""
    first = context.kept.setdefault("stamp", stamp_of(message))
    if not context.count:
        return [(0.0, message)]
    return [(0.0, restamped(message, first - context.count * round(context.period_s * NS)))]


@fault()
def old_stamp(message: Any, context: Context) -> list[Delivery]:
    """The sensor's clock is five seconds behind."""
    return [(0.0, restamped(message, stamp_of(message) - 5 * NS))]


# -- images --


def _image(message: Any, pixels: NDArray[np.uint8]) -> list[Delivery]:
    return changed(message, data=as_bytes(pixels))


@fault("camera", "lidar")
def frozen(message: Any, context: Context) -> list[Delivery]:
    """The first content again and again, with new stamps."""
    data = context.kept.setdefault("data", message.data)
    return changed(message, data=data) if context.count else [(0.0, message)]


@fault("camera")
def black(message: Any, context: Context) -> list[Delivery]:
    """All pixels black, with the noise of a sensor."""
    return _image(message, context.rng.integers(0, 3, len(message.data), dtype=np.uint8))


@fault("camera")
def white(message: Any, context: Context) -> list[Delivery]:
    """All pixels at full brightness."""
    return _image(message, context.rng.integers(253, 256, len(message.data), dtype=np.uint8))


@fault("camera")
def saturated(message: Any, context: Context) -> list[Delivery]:
    """Over-exposed by a factor of two: most of the picture is at full brightness."""
    pixels = np.frombuffer(message.data, np.uint8).astype(np.int32) * 2
    return _image(message, np.clip(pixels, 0, 255).astype(np.uint8))


@fault("camera")
def noise(message: Any, context: Context) -> list[Delivery]:
    """Nothing but noise."""
    return _image(message, context.rng.integers(0, 256, len(message.data), dtype=np.uint8))


@fault("camera")
def blocked(message: Any, context: Context) -> list[Delivery]:
    """A covered lens: even grey with a little noise."""
    return _image(message, context.rng.integers(58, 63, len(message.data), dtype=np.uint8))


@fault("camera")
def wrong_encoding(message: Any, context: Context) -> list[Delivery]:
    """An encoding nobody knows."""
    return changed(message, encoding="yuv999")


@fault("camera")
def wrong_step(message: Any, context: Context) -> list[Delivery]:
    """A step shorter than a row."""
    return changed(message, step=message.width)


@fault("camera")
def other_size(message: Any, context: Context) -> list[Delivery]:
    """Half the size during the run; valid, so nothing is to be raised."""
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    half = np.ascontiguousarray(pixels[::2, ::2])
    return changed(
        message,
        width=half.shape[1],
        height=half.shape[0],
        step=half.shape[1] * 3,
        data=as_bytes(half),
    )


@fault("camera")
def truncated(message: Any, context: Context) -> list[Delivery]:
    """The second half of the data is missing."""
    return changed(message, data=message.data[: len(message.data) // 2])


# -- clouds --


def _points(message: Any) -> NDArray[np.float32]:
    return np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)


def _cloud(message: Any, points: NDArray[np.float32], **more: Any) -> list[Delivery]:
    width = len(points)
    step = 4 * points.shape[1]
    return changed(
        message,
        width=width,
        point_step=step,
        row_step=step * width,
        data=as_bytes(points),
        **more,
    )


@fault("lidar")
def no_intensity(message: Any, context: Context) -> list[Delivery]:
    """A cloud without intensity; valid, so nothing is to be raised."""
    return _cloud(message, _points(message)[:, :3], fields=message.fields[:3])


@fault("lidar")
def some_nan(message: Any, context: Context) -> list[Delivery]:
    """Every fifth point is NaN or Inf; the others are used, so nothing is to be raised."""
    points = _points(message).copy()
    points[::10, 0], points[5::10, 1] = np.nan, np.inf
    return _cloud(message, points)


@fault("lidar")
def all_nan(message: Any, context: Context) -> list[Delivery]:
    """All points are NaN."""
    return _cloud(message, np.full_like(_points(message), np.nan))


@fault("lidar")
def empty_cloud(message: Any, context: Context) -> list[Delivery]:
    """A cloud without points."""
    return _cloud(message, _points(message)[:0])


@fault("lidar")
def ten_times_points(message: Any, context: Context) -> list[Delivery]:
    """Ten times the points; valid, so nothing is to be raised."""
    points = np.tile(_points(message), (10, 1))
    points[:, :3] += context.rng.normal(0.0, 0.02, (len(points), 3)).astype(np.float32)
    return _cloud(message, points)


@fault("lidar")
def sector_lost(message: Any, context: Context) -> list[Delivery]:
    """A sector of 90 degrees ahead is missing."""
    points = _points(message)
    return _cloud(message, points[np.abs(np.arctan2(points[:, 1], points[:, 0])) > np.pi / 4])


def _at(message: Any, xyz_m: NDArray[np.float32]) -> list[Delivery]:
    points = _points(message).copy()
    points[:, :3] = xyz_m
    return _cloud(message, points)


@fault("lidar")
def near(message: Any, context: Context) -> list[Delivery]:
    """A covered LiDAR: as many points as ever, all within 0.2 m."""
    xyz_m = context.rng.uniform(-0.1, 0.1, (len(_points(message)), 3))
    return _at(message, xyz_m.astype(np.float32))


@fault("lidar")
def endless(message: Any, context: Context) -> list[Delivery]:
    """As many points as ever, all at 1e31 m."""
    xyz_m = context.rng.uniform(0.5e31, 1e31, (len(_points(message)), 3))
    return _at(message, xyz_m.astype(np.float32))


@fault("lidar")
def sky(message: Any, context: Context) -> list[Delivery]:
    """As many points as ever, all 500 m above the road."""
    points = _points(message)
    return _at(message, points[:, :3] + np.array([0.0, 0.0, 500.0], np.float32))


@fault("lidar")
def overlapping(message: Any, context: Context) -> list[Delivery]:
    """Fields that lie upon each other."""
    return _with_fields(message, offset=0)


@fault("lidar")
def endless_fields(message: Any, context: Context) -> list[Delivery]:
    """Fields that claim 2^31 values a point."""
    return _with_fields(message, count=2**31)


def _with_fields(message: Any, **changes: int) -> list[Delivery]:
    fields = [copy.copy(item) for item in message.fields]
    for item in fields:
        for name, value in changes.items():
            setattr(item, name, value)
    return changed(message, fields=fields)


@fault("camera", "lidar")
def every_second_bad(message: Any, context: Context) -> list[Delivery]:
    """Every second message has only half of its data."""
    if context.count % 2:
        return [(0.0, message)]
    return changed(message, data=message.data[: len(message.data) // 2])


@fault("camera", "lidar")
def too_late(message: Any, context: Context) -> list[Delivery]:
    """Each message comes 0.35 s after it was taken: never in time for the others."""
    return [(0.35, message)]


# -- audio --


def _samples(message: Any) -> NDArray[np.int16]:
    return np.frombuffer(message.data, "<i2").reshape(-1, message.channels)


@fault("audio")
def audio_gap(message: Any, context: Context) -> list[Delivery]:
    """Every fifth block is missing from the stream."""
    return [] if context.count % 5 == 0 else [(0.0, message)]


@fault("audio")
def audio_rate_change(message: Any, context: Context) -> list[Delivery]:
    """The sample rate changes every other block."""
    return changed(message, sample_rate=48000) if context.count % 2 else [(0.0, message)]


@fault("audio")
def clipping(message: Any, context: Context) -> list[Delivery]:
    """A gain that drives a tenth of the samples to full scale."""
    loud = np.clip(_samples(message).astype(np.float64) * 30.0, -32767, 32767)
    return changed(message, data=as_bytes(loud.astype("<i2")))


@fault("audio")
def silence(message: Any, context: Context) -> list[Delivery]:
    """Digital silence."""
    return changed(message, data=as_bytes(np.zeros_like(_samples(message))))


@fault("audio")
def dead_channel(message: Any, context: Context) -> list[Delivery]:
    """One channel is zero."""
    samples = _samples(message).copy()
    samples[:, 1] = 0
    return changed(message, data=as_bytes(samples))
