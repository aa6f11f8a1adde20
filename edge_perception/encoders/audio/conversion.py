"""AudioChunk messages to blocks of samples. Messages are read by attribute, no ROS import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import AudioBlock
from edge_perception.encoders.audio.byte_order import ByteOrder
from edge_perception.encoders.audio.companding import Companding
from edge_perception.encoders.audio.container import WavHeader, without_header

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 384_000
MAX_CHANNELS = 64
MAX_BLOCK_S = 10.0
MAX_PEAK = 16.0  # times full scale; beyond that the samples are no float audio but scaled integers
S16_FULL_SCALE = 32767.0
_TELLING = 64  # samples that are not zero
_FAINTEST = 1e-9  # of floats that are sound
CHUNK_FORMATS = ("s16le", "f32le")


@dataclass(frozen=True, kw_only=True)
class SampleFormat:
    """How one sample is stored: value = (stored - zero) / full_scale."""

    dtype: str  # of one sample, or of one byte where three of them are a sample
    full_scale: float = 1.0
    zero: float = 0.0
    packed: bool = False  # three bytes
    low_bits: int = 0  # of 32, the upper ones hold nothing; 0: all

    @property
    def bytes(self) -> int:
        """Size of a sample."""
        return 3 if self.packed else int(np.dtype(self.dtype).itemsize)


_FULL = {16: S16_FULL_SCALE, 24: 8388607.0, 32: 2147483647.0}


def _pcm() -> dict[str, SampleFormat]:
    """Return the whole-number formats of GStreamer and ALSA by name, in lower case."""
    found = {
        "u8": SampleFormat(dtype="u1", full_scale=127.0, zero=128.0),
        "s8": SampleFormat(dtype="i1", full_scale=127.0),
    }
    for name, mark in (("le", "<"), ("be", ">")):
        for bits in (16, 32):
            full = _FULL[bits]
            found[f"s{bits}{name}"] = SampleFormat(dtype=f"{mark}i{bits // 8}", full_scale=full)
            found[f"u{bits}{name}"] = SampleFormat(
                dtype=f"{mark}u{bits // 8}", full_scale=full, zero=full + 1.0
            )
        found[f"s24{name}"] = SampleFormat(dtype=f"{mark}i4", full_scale=_FULL[24], packed=True)
        found[f"s24_32{name}"] = SampleFormat(dtype=f"{mark}i4", full_scale=_FULL[24], low_bits=24)
        for bits in (32, 64):
            found[f"f{bits}{name}"] = SampleFormat(dtype=f"{mark}f{bits // 8}")
    return found


SAMPLE_FORMATS = _pcm()


def block_from_chunk(message: Any, order: ByteOrder | None = None) -> AudioBlock:
    """Convert an ``edge_perception/msg/AudioChunk``.

    Args:
        message: of rclpy or of a bag reader.
        order: what is known of the source's order of bytes; None: as the format says.

    Raises:
        InvalidFrameError: the format is neither s16le nor f32le, rate, channels or size are out of
            range, the data is no whole number of frames or a file of another kind, a WAV header
            in it says otherwise, or a sample is NaN or Inf.
    """
    if message.format not in CHUNK_FORMATS:
        raise InvalidFrameError(
            f"format expects one of {', '.join(CHUNK_FORMATS)}, got '{message.format}'"
        )
    rate_hz, channels = int(message.sample_rate), int(message.channels)
    return AudioBlock(
        stamp_ns=stamp_of(message.header),
        frame_id=message.header.frame_id,
        samples=decode_samples(
            message.data,
            SAMPLE_FORMATS[message.format],
            rate_hz=rate_hz,
            channels=channels,
            order=order,
        ),
        sample_rate_hz=rate_hz,
        first_sample_index=int(message.first_sample_index),
    )


def stamp_of(header: Any) -> int:
    """Return a std_msgs/Header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def decode_samples(
    data: Any,
    sample_format: SampleFormat,
    *,
    rate_hz: int,
    channels: int,
    order: ByteOrder | None = None,
    law: Companding | None = None,
) -> NDArray[np.float32]:
    """Return interleaved bytes (or a typed array of samples) as (N, C) float32, full scale 1.0.

    A WAV header in front of the samples is taken off. With `order` whole numbers of two and four
    bytes are read in the order in which they are sound, with `law` those of one byte by the law by
    which they are.

    Raises:
        InvalidFrameError: as in `block_from_chunk`.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise InvalidFrameError(
            f"sample_rate expects {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, got {rate_hz}"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidFrameError(f"channels expects 1 to {MAX_CHANNELS}, got {channels}")
    raw, header = without_header(memoryview(data).cast("B"))
    if header is not None:
        _check_header(header, sample_format, rate_hz, channels)
    sample_bytes = sample_format.bytes
    frame_bytes = sample_bytes * channels
    frames, rest = divmod(len(raw), frame_bytes)
    if rest or not frames:
        raise InvalidFrameError(
            f"data expects a multiple of {frame_bytes} bytes "
            f"({channels} channels of {sample_bytes} bytes), got {len(raw)}"
        )
    if frames > MAX_BLOCK_S * rate_hz:
        raise InvalidFrameError(
            f"data expects at most {MAX_BLOCK_S:g} s, got {frames / rate_hz:.1f} s"
        )
    stored = _stored(raw, sample_format)
    plain = not (sample_format.packed or sample_format.low_bits)
    if plain and stored.dtype.kind in "iu" and stored.dtype.itemsize == 4:
        _check_whole(stored)
    if order is not None and plain and order.see(sample_format.dtype, stored, channels):
        stored = stored.view(stored.dtype.newbyteorder())
    if law is not None and sample_bytes == 1:
        companded = law.see(stored, channels)
        if companded is not None:
            return companded.reshape(frames, channels)
    samples = stored.astype(np.float32)
    if sample_format.zero:
        samples -= np.float32(sample_format.zero)
    if sample_format.full_scale != 1.0:
        samples *= np.float32(1.0 / sample_format.full_scale)
    else:
        _check_float(samples)
    return samples.reshape(frames, channels)


def _check_header(
    header: WavHeader, sample_format: SampleFormat, rate_hz: int, channels: int
) -> None:
    """Refuse a WAV header that says other things of the samples than the message does."""
    same = SAMPLE_FORMATS[header.sample_format] == sample_format
    if not same or (header.rate_hz, header.channels) != (rate_hz, channels):
        name = next((n for n, f in SAMPLE_FORMATS.items() if f == sample_format), "another format")
        raise InvalidFrameError(
            f"the WAV header in the data says {header}; expected {name}, {rate_hz} Hz, "
            f"{channels} channels, as told beside it"
        )


def _stored(raw: memoryview, sample_format: SampleFormat) -> NDArray:
    """Return the samples as numbers of their own kind."""
    dtype = np.dtype(sample_format.dtype)
    if sample_format.packed:
        # With a zero byte below, three bytes are the upper ones of a 32-bit number of their sign.
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        first = 1 if dtype.newbyteorder("<") == dtype else 0
        wide[:, first : first + 3] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return np.asarray(wide.view(dtype)[:, 0] >> 8)
    stored = np.frombuffer(raw, dtype=dtype)
    if sample_format.low_bits:
        unused = 8 * dtype.itemsize - sample_format.low_bits
        return np.asarray(stored.astype(dtype.newbyteorder("=")) << unused >> unused)
    return stored


def _check_whole(stored: NDArray) -> None:
    """Refuse whole numbers of four bytes that are floats of full scale 1.0.

    Sound in whole numbers, read as floats, is next to zero or no number at all.
    """
    moving = stored[stored != 0]
    with np.errstate(invalid="ignore"):
        size = np.abs(moving.view(moving.dtype.str.replace(moving.dtype.kind, "f")))
        floats = np.count_nonzero((size > _FAINTEST) & (size < 2.0))
    if len(moving) >= _TELLING and floats > 0.9 * len(moving):
        raise InvalidFrameError("data expects whole numbers of 32 bits, got floats: f32le?")


def _check_float(samples: NDArray[np.float32]) -> None:
    peak = float(np.abs(samples).max())  # NaN and Inf come through the maximum
    if not np.isfinite(peak):
        raise InvalidFrameError(f"data expects finite samples, got {peak}")
    if peak > MAX_PEAK:
        raise InvalidFrameError(f"float samples expect full scale 1.0, got a peak of {peak:g}")
