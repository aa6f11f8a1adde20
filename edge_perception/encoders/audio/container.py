"""Sound in a container where samples are expected: a WAV header is taken off, others are refused.

Drivers that publish what an encoder or a file gives put its header in front of the samples, of each
message or of the first one. Read as samples it is a click, and with another rate all is wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edge_perception.core.errors import InvalidFrameError

# Four bytes of noise are one of these once in 700 million messages.
_OTHERS = {
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"ID3\x02": "MP3",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
    b"FORM": "AIFF",
    b"caff": "CAF",
    b".snd": "AU",
    b"RIFX": "WAV of big-endian samples",
    b"RF64": "RF64",
    b"\x1aE\xdf\xa3": "Matroska",
}
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {
    (_PCM, 8): "u8",
    (_PCM, 16): "s16le",
    (_PCM, 24): "s24le",
    (_PCM, 32): "s32le",
    (_FLOAT, 32): "f32le",
    (_FLOAT, 64): "f64le",
}


@dataclass(frozen=True, kw_only=True)
class WavHeader:
    """What a WAV header says."""

    sample_format: str  # as GStreamer calls it
    rate_hz: int
    channels: int

    def __str__(self) -> str:
        return f"{self.sample_format}, {self.rate_hz} Hz, {self.channels} channels"


def without_header(raw: memoryview) -> tuple[memoryview, WavHeader | None]:
    """Return the samples of a message, and what the WAV header in front of them says, if any.

    Args:
        raw: bytes of the message.

    Raises:
        InvalidFrameError: it is a container of another kind, or a WAV header that breaks off.
    """
    magic = bytes(raw[:4])
    if magic in _OTHERS:
        raise InvalidFrameError(f"data expects samples, got a file of {_OTHERS[magic]}")
    if magic != b"RIFF" or bytes(raw[8:12]) != b"WAVE":
        return raw, None
    header, at = None, 12
    while at + 8 <= len(raw):
        name, size = struct.unpack_from("<4sI", raw, at)
        at += 8
        if name == b"data":
            if header is None:
                break
            # A stream does not know its length: 0, or all bits set.
            end = at + size if size and at + size <= len(raw) else len(raw)
            return raw[at:end], header
        if name == b"fmt ":
            header = _header(raw[at : at + size])
        at += size + size % 2
    raise InvalidFrameError(
        f"data begins with a WAV header without {'data' if header else 'fmt'} in {len(raw)} bytes"
    )


def _header(fields: memoryview) -> WavHeader:
    if len(fields) < 16:
        raise InvalidFrameError(f"WAV header: fmt expects 16 bytes or more, got {len(fields)}")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", fields)
    if tag == _EXTENSIBLE and len(fields) >= 26:
        (tag,) = struct.unpack_from("<H", fields, 24)
    name = _NAMES.get((tag, bits))
    if name is None:
        raise InvalidFrameError(
            f"WAV header: expected whole numbers or floats, got format {tag} of {bits} bits"
        )
    return WavHeader(sample_format=name, rate_hz=rate_hz, channels=channels)
