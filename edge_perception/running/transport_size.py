"""Shared memory sized for the sensors at hand: a copy of the profile with other numbers.

A segment belongs to the process that publishes. It must hold the messages that readers have not
taken yet, which the depth of the topic bounds, the one being written, and room between them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError

MOST_BYTES = 2**31 - 1  # Fast DDS holds both sizes in 32 bits, and some tools read them signed
_MB = 2**20
_HEADER_BYTES = 4096  # of a message: stamps, names, field descriptions
_PIXEL_BYTES, _POINT_BYTES = 3, 32  # bgr8; x y z intensity ring time, padded


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What one topic of a process carries."""

    bytes: int  # of a message

    @staticmethod
    def image(text: str) -> Sensor:
        """Read `1920x1080` (3 bytes a pixel) or `1920x1080x2`.

        Raises:
            ConfigurationError: it is neither.
        """
        width, height, pixel = _numbers(text, "image size", "WIDTHxHEIGHT or WIDTHxHEIGHTxBYTES", 2)
        return Sensor(bytes=width * height * pixel)

    @staticmethod
    def cloud(text: str) -> Sensor:
        """Read `100000` (32 bytes a point) or `100000x16`.

        Raises:
            ConfigurationError: it is neither.
        """
        points, step = _numbers(text, "points", "POINTS or POINTSxBYTES", 1)
        return Sensor(bytes=points * step)


def _numbers(text: str, what: str, form: str, given: int) -> list[int]:
    default = _PIXEL_BYTES if given == 2 else _POINT_BYTES
    if not re.fullmatch(rf"[1-9]\d{{0,8}}(x[1-9]\d{{0,8}}){{{given - 1},{given}}}", text):
        raise ConfigurationError(f"{what}: expected {form}, got '{text}'")
    numbers = [int(part) for part in text.split("x")]
    return numbers if len(numbers) > given else [*numbers, default]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of a profile, bytes."""

    segment: int = 64 * _MB
    message: int = 16 * _MB


def sizes_for(sensors: Sequence[Sensor], depth: int) -> Sizes:
    """Return the sizes for a process that publishes these; never below the profile's own.

    Args:
        sensors: one for each topic.
        depth: messages of a topic that a reader may leave untaken.

    Raises:
        ConfigurationError: more than Fast DDS can have.
    """
    messages = [_up(sensor.bytes + _HEADER_BYTES) for sensor in sensors]
    sizes = Sizes(
        segment=max(Sizes.segment, sum(messages) * (depth + 2)),
        message=max(Sizes.message, *messages, 0),
    )
    if sizes.segment > MOST_BYTES:
        raise ConfigurationError(
            f"transport: expected messages that need at most {MOST_BYTES // _MB} MB of shared "
            f"memory, these need {sizes.segment // _MB} MB: fewer sensors a process, or less depth"
        )
    return sizes


def sized_profile(profile: Path, sizes: Sizes, environment: Mapping[str, str]) -> Path:
    """Return a profile with these sizes: the given one where it has them, else a copy in the cache.

    Raises:
        ConfigurationError: the copy cannot be written.
    """
    if sizes == Sizes():
        return profile
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_perception"
    target = cache / f"fastdds_shm_{sizes.segment // _MB}_{sizes.message // _MB}.xml"
    text = profile.read_text(encoding="utf-8")
    for tag, value in (("segment_size", sizes.segment), ("maxMessageSize", sizes.message)):
        text = re.sub(rf"<{tag}>\d+</{tag}>", f"<{tag}>{value}</{tag}>", text)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise ConfigurationError(f"transport: {target} cannot be written: {error}") from error
    return target


def _up(size: int) -> int:
    return -(-size // _MB) * _MB
