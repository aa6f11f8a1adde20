"""Messages of the two packages that are both called audio_common_msgs.

- ros-drivers/audio_common: ``AudioDataStamped`` (header, audio.data bytes) with the format on a
  topic of its own, ``AudioInfo`` (channels, sample_rate, sample_format, coding_format).
- mgonzs13/audio_common: ``AudioStamped`` (header, audio.audio_data with one list a PortAudio type,
  audio.info with format, channels, rate, chunk).

Neither counts samples. The index is made up from the stamps, so a gap shorter than
`STAMP_TOLERANCE_S` cannot be told from jitter and is not noticed.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import AudioBlock
from edge_perception.encoders.audio.byte_order import NOTE, ByteOrder
from edge_perception.encoders.audio.coded import CodedFrames
from edge_perception.encoders.audio.companding import Companding
from edge_perception.encoders.audio.conversion import (
    SAMPLE_FORMATS,
    block_from_chunk,
    decode_samples,
    stamp_of,
)
from edge_perception.encoders.audio.planes import NOTE as PLANES_NOTE
from edge_perception.encoders.audio.planes import Planes

STAMP_TOLERANCE_S = 0.1
FIRST_INFO_S = 0.5  # the format may come so much later than the first sound
# PaSampleFormat flags of portaudio.h, the list that carries the samples, and how they are stored.
_PORTAUDIO = {
    0x01: ("float32_data", "f4", "f32le"),
    0x02: ("int32_data", "i4", "s32le"),
    0x08: ("int16_data", "i2", "s16le"),
    0x10: ("int8_data", "i1", "s8"),
    0x20: ("uint8_data", "u1", "u8"),
}


class MessageConverter:
    """Turns every kind of audio message into blocks; keeps what spans messages of one source."""

    def __init__(self) -> None:
        self._info: Any | None = None
        self._unread_since_ns = 0  # stamp of the first block without a format; 0: none came
        self._counter = SampleCounter()
        self._order, self._law = ByteOrder(), Companding()
        self._coded, self._planes = CodedFrames(), Planes()

    def copy(self) -> MessageConverter:
        """Return one that goes on from here on its own."""
        other = MessageConverter()
        other._info, other._counter = self._info, copy.copy(self._counter)
        other._unread_since_ns = self._unread_since_ns
        other._order, other._law = copy.copy(self._order), copy.copy(self._law)
        other._coded, other._planes = copy.copy(self._coded), copy.copy(self._planes)
        return other

    def convert(self, message: Any) -> AudioBlock | None:
        """Return the block of a message; None: there is none to be had of it.

        An AudioInfo only tells the format. A stream whose format is told on a topic of its own
        begins with it: what arrives before it is left out, for `FIRST_INFO_S` at most.

        Raises:
            InvalidFrameError: the message cannot be used.
        """
        if isinstance(message, AudioBlock):
            return message
        block = self._block(message)
        if block is None:
            return None
        samples = self._planes.see(block.samples)
        notes = (
            NOTE if self._order.is_other else "",
            self._law.note,
            PLANES_NOTE if self._planes.are_planes else "",
        )
        said = tuple(note for note in notes if note)
        return replace(block, samples=samples, notes=said) if said else block

    def _block(self, message: Any) -> AudioBlock | None:
        if hasattr(message, "first_sample_index"):
            self._coded.refuse(message.data)
            return block_from_chunk(message, self._order)
        if hasattr(message, "coding_format"):
            if self._info is not None and message.sample_format != self._info.sample_format:
                self._law = Companding()
            self._info = message
            return None
        audio = getattr(message, "audio", None)
        if hasattr(audio, "audio_data"):
            return self._from_audio_stamped(message)
        if hasattr(audio, "data"):
            return self._from_audio_data_stamped(message)
        raise InvalidFrameError(
            "expected an AudioChunk, AudioDataStamped, AudioInfo or AudioStamped message, "
            f"got {type(message).__name__}"
        )

    def _from_audio_data_stamped(self, message: Any) -> AudioBlock | None:
        info = self._info
        if info is None:
            stamp_ns = stamp_of(message.header)
            self._unread_since_ns = self._unread_since_ns or stamp_ns
            if abs(stamp_ns - self._unread_since_ns) < FIRST_INFO_S * 1e9:
                return None
            raise InvalidFrameError(
                "AudioDataStamped expects an AudioInfo message before it, got none"
            )
        if info.coding_format.lower() not in ("wave", "raw"):
            raise InvalidFrameError(
                f"AudioInfo.coding_format expects wave, got '{info.coding_format}'"
            )
        sample_format = SAMPLE_FORMATS.get(info.sample_format.lower())
        if sample_format is None:
            raise InvalidFrameError(
                f"AudioInfo.sample_format expects one of {', '.join(SAMPLE_FORMATS)}, "
                f"got '{info.sample_format}'"
            )
        self._coded.refuse(message.audio.data)
        rate_hz = int(info.sample_rate)
        samples = decode_samples(
            message.audio.data,
            sample_format,
            rate_hz=rate_hz,
            channels=int(info.channels),
            order=self._order,
            law=self._law,
        )
        return self._counter.block(message.header, samples, rate_hz)

    def _from_audio_stamped(self, message: Any) -> AudioBlock:
        info, data = message.audio.info, message.audio.audio_data
        if info.format not in _PORTAUDIO:
            raise InvalidFrameError(
                "AudioStamped info.format expects a PortAudio format of "
                f"{', '.join(map(str, _PORTAUDIO))}, got {info.format}"
            )
        name, dtype, stored_as = _PORTAUDIO[info.format]
        if not len(getattr(data, name)):
            filled = [n for n, _, _ in _PORTAUDIO.values() if len(getattr(data, n, ()))]
            raise InvalidFrameError(
                f"AudioStamped info.format {info.format} expects samples in {name}, which is "
                f"empty; they are in {' and '.join(filled) or 'none of the lists'}"
            )
        rate_hz = int(info.rate)
        samples = decode_samples(
            np.asarray(getattr(data, name), dtype=f"<{dtype}"),
            SAMPLE_FORMATS[stored_as],
            rate_hz=rate_hz,
            channels=int(info.channels),
        )
        return self._counter.block(message.header, samples, rate_hz)


class SampleCounter:
    """Numbers the samples of a stream whose messages carry a stamp only."""

    def __init__(self) -> None:
        self._next_index = 0
        self._next_stamp_ns: int | None = None

    def block(self, header: Any, samples: np.ndarray, rate_hz: int) -> AudioBlock:
        """Return the block, its index moved on by what the stamps say is missing."""
        stamp_ns = stamp_of(header)
        if self._next_stamp_ns is not None:
            late_s = (stamp_ns - self._next_stamp_ns) / 1e9
            if late_s > STAMP_TOLERANCE_S:
                self._next_index += round(late_s * rate_hz)
            elif late_s < -STAMP_TOLERANCE_S:
                self._next_index = 0
        index = self._next_index
        self._next_index += len(samples)
        self._next_stamp_ns = stamp_ns + round(len(samples) * 1e9 / rate_hz)
        return AudioBlock(
            stamp_ns=stamp_ns,
            frame_id=header.frame_id,
            samples=samples,
            sample_rate_hz=rate_hz,
            first_sample_index=index,
        )
