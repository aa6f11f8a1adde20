"""A recorded clip through an audio model: for evaluation, the demo and tests."""

from __future__ import annotations

import wave
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import AudioBlock, Geometry, SoundEvent
from edge_perception.encoders.audio.conversion import S16_FULL_SCALE
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake


@dataclass(frozen=True, kw_only=True)
class ClipWindow:
    """What the model said of one window."""

    window_start_ns: int
    window_end_ns: int
    outputs: Mapping[str, NDArray]  # graph outputs
    sound_events: tuple[SoundEvent, ...]


def read_wav(
    path: Path,
    *,
    block_s: float = 0.1,
    start_ns: int = 0,
    pad_s: float = 0.0,
    frame_id: str = "microphone",
) -> Iterator[AudioBlock]:
    """Yield a 16-bit PCM wav file as the blocks a sound card would give.

    Args:
        path: the file.
        block_s: length of a block.
        start_ns: time of the file's first sample.
        pad_s: digital silence put before and after, so that a clip shorter than the model's window
            can be heard. It comes before `start_ns`.
        frame_id: frame of the blocks.

    Raises:
        InvalidFrameError: the file is no 16-bit PCM wav.
    """
    samples, rate_hz = _read_samples(path)
    pad = np.zeros((round(pad_s * rate_hz), samples.shape[1]), dtype=np.float32)
    padded = np.concatenate([pad, samples, pad])
    step = max(round(block_s * rate_hz), 1)
    for first in range(0, len(padded), step):
        yield AudioBlock(
            stamp_ns=start_ns + (first - len(pad)) * 1_000_000_000 // rate_hz,
            frame_id=frame_id,
            samples=padded[first : first + step],
            sample_rate_hz=rate_hz,
            first_sample_index=first,
        )


def run_blocks(
    encoder: AudioEncoder, intake: AudioIntake, blocks: Iterable[AudioBlock]
) -> Iterator[ClipWindow]:
    """Run blocks through intake and encoder in lock step: no window is dropped."""
    geometry = Geometry()
    for block in blocks:
        item = intake.accept(block)
        if item is None:
            continue
        frame = intake.frame(item)
        outputs = encoder.infer(encoder.preprocess(frame, geometry))
        yield ClipWindow(
            window_start_ns=frame.window_start_ns,
            window_end_ns=frame.window_end_ns,
            outputs=outputs,
            sound_events=encoder.postprocess(outputs, frame, geometry).sound_events,
        )


def _read_samples(path: Path) -> tuple[NDArray[np.float32], int]:
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate_hz = (
                file.getsampwidth(),
                file.getnchannels(),
                file.getframerate(),
            )
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InvalidFrameError(f"{path.name}: expected a PCM wav file: {error}") from error
    if width != 2:
        raise InvalidFrameError(f"{path.name}: expected 16-bit samples, got {8 * width}-bit")
    if len(data) % (width * channels):
        raise InvalidFrameError(
            f"{path.name}: expected whole frames of {channels} samples, got {len(data)} bytes"
        )
    stored = np.frombuffer(data, dtype="<i2").reshape(-1, channels)
    return stored.astype(np.float32) / np.float32(S16_FULL_SCALE), rate_hz
