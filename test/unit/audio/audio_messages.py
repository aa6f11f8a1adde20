"""Stand-ins with the fields of the public message definitions."""

from array import array
from types import SimpleNamespace

import numpy as np

from edge_perception.core.types import AudioBlock


def header(stamp_ns=1_000_000_000, frame_id="microphone"):
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def chunk(data=b"", /, **fields):
    """edge_perception/msg/AudioChunk."""
    values = {
        "header": header(),
        "sample_rate": 16_000,
        "channels": 1,
        "format": "s16le",
        "first_sample_index": 0,
        "data": array("B", bytes(data)),
    }
    return SimpleNamespace(**{**values, **fields})


def audio_info(**fields):
    """audio_common_msgs/msg/AudioInfo of ros-drivers/audio_common."""
    values = {
        "channels": 1,
        "sample_rate": 16_000,
        "sample_format": "S16LE",
        "bitrate": 192,
        "coding_format": "wave",
    }
    return SimpleNamespace(**{**values, **fields})


def audio_data_stamped(data, stamp_ns=1_000_000_000):
    """audio_common_msgs/msg/AudioDataStamped of ros-drivers/audio_common."""
    return SimpleNamespace(
        header=header(stamp_ns), audio=SimpleNamespace(data=array("B", bytes(data)))
    )


def audio_stamped(stamp_ns=1_000_000_000, *, format, channels=1, rate=16_000, **data):
    """audio_common_msgs/msg/AudioStamped of mgonzs13/audio_common."""
    lists = {
        "float32_data": array("f"),
        "int32_data": array("i"),
        "int16_data": array("h"),
        "int8_data": array("b"),
        "uint8_data": array("B"),
    }
    length = max(len(values) for values in data.values())
    return SimpleNamespace(
        header=header(stamp_ns),
        audio=SimpleNamespace(
            audio_data=SimpleNamespace(**{**lists, **data}),
            info=SimpleNamespace(
                format=format, channels=channels, rate=rate, chunk=length // channels
            ),
        ),
    )


def tone(seconds, *, rate_hz=16_000, frequency_hz=440.0, amplitude=0.5):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def blocks(samples, *, block=1600, rate_hz=16_000, start_ns=10_000_000_000, first_index=0):
    """Cut (N,) or (N, C) samples into the blocks of one device."""
    samples = np.asarray(samples, np.float32)
    samples = samples[:, None] if samples.ndim == 1 else samples
    return [
        AudioBlock(
            stamp_ns=start_ns + first * 1_000_000_000 // rate_hz,
            frame_id="microphone",
            samples=samples[first : first + block],
            sample_rate_hz=rate_hz,
            first_sample_index=first_index + first,
        )
        for first in range(0, len(samples), block)
    ]
