"""Sound as the drivers of microphones publish it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from driver_case import REFUSED, STAMP_NS, Case, header

CHUNK, STAMPED = "edge_perception/msg/AudioChunk", "audio_common_msgs/msg/AudioDataStamped"
FORMAT, COMMON = "audio_common_msgs/msg/AudioInfo", "audio_common_msgs/msg/AudioStamped"
RATE_HZ = 16_000


def tone(index: int, samples: int, *, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Samples of block `index` of a tone, full scale 1."""
    time_s = (index * samples + np.arange(samples)) / rate_hz
    return 0.3 * np.sin(2 * np.pi * 440 * time_s)


def _stamp(index: int, samples: int, rate_hz: int, frame_id: str) -> SimpleNamespace:
    return header(STAMP_NS + index * samples * 10**9 // rate_hz, frame_id)


def _chunk(index: int) -> SimpleNamespace:
    stereo = np.stack([tone(index, 4800, rate_hz=48_000)] * 2, axis=1)
    return SimpleNamespace(
        header=_stamp(index, 4800, 48_000, "microphone"),
        sample_rate=48_000,
        channels=2,
        format="f32le",
        first_sample_index=index * 4800,
        data=stereo.astype("<f4").tobytes(),
    )


def _info(**changes: Any) -> SimpleNamespace:
    fields: dict[str, Any] = {
        "channels": 1,
        "sample_rate": RATE_HZ,
        "sample_format": "S16LE",
        "bitrate": 192,
        "coding_format": "wave",
    }
    return SimpleNamespace(**{**fields, **changes})


def _capture(index: int) -> SimpleNamespace:
    """audio_capture: 10 ms a message, no frame id."""
    data = np.rint(tone(index, 160) * 32767).astype("<i2").tobytes()
    return SimpleNamespace(header=_stamp(index, 160, RATE_HZ, ""), audio=SimpleNamespace(data=data))


def _capture_24(index: int) -> SimpleNamespace:
    whole = np.rint(tone(index, 480, rate_hz=48_000) * 8388607).astype("<i4")
    data = whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return SimpleNamespace(header=_stamp(index, 480, 48_000, ""), audio=SimpleNamespace(data=data))


def _common(index: int) -> SimpleNamespace:
    """audio_common: PortAudio's paInt16 in chunks of 512 samples."""
    lists: dict[str, Any] = {
        f"{name}_data": [] for name in ("float32", "int32", "int16", "int8", "uint8")
    }
    lists["int16_data"] = np.rint(tone(index, 512) * 32767).astype(np.int16)
    return SimpleNamespace(
        header=_stamp(index, 512, RATE_HZ, ""),
        audio=SimpleNamespace(
            audio_data=SimpleNamespace(**lists),
            info=SimpleNamespace(format=8, channels=1, rate=RATE_HZ, chunk=512),
        ),
    )


def is_the_tone(frame: Any) -> None:
    """Assert that a window holds the tone: its frequency and its size."""
    samples = frame.samples[-4000:]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(np.argmax(spectrum) * RATE_HZ / len(samples) - 440) < 5
    assert abs(np.abs(samples).max() - 0.3) < 0.01


def _case(row: str, make: Any, kind: str, **fields: Any) -> Case:
    return Case(row=row, modality="audio", kind=kind, make=make, decoded=is_the_tone, **fields)


CASES = (
    _case("AudioChunk of this package", _chunk, CHUNK),
    _case("audio_capture (ros-drivers)", _capture, STAMPED, before=((FORMAT, _info()),)),
    _case(
        "audio_capture (ros-drivers)", _capture_24, STAMPED, part="24 bits",
        before=((FORMAT, _info(sample_format="S24LE", sample_rate=48_000)),),
    ),
    _case(
        "audio_capture (ros-drivers), default", _capture, STAMPED,
        before=((FORMAT, _info(coding_format="mp3")),),
        state=REFUSED, says=("coding_format expects wave, got 'mp3'",),
    ),
    _case("audio_common (mgonzs13)", _common, COMMON),
)  # fmt: skip
