"""Frames of an encoder (MP3, AAC) where samples are expected.

Drivers encode sound unless they are told not to (audio_capture: `format: mp3`), and what is said
beside the data may be wrong. A frame has no magic of its own, but a header that tells its length,
and behind it the next one begins: a message of samples is not made of such frames from its first
byte to its last, but by chance.
"""

from __future__ import annotations

from typing import Any

from edge_perception.core.errors import InvalidFrameError

# ISO 11172-3 and 13818-3: kbit/s by index, of MPEG-1 and of MPEG-2 and 2.5, layers II and III.
_LAYER_2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_LAYER_3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44_100, 48_000, 32_000)  # of MPEG-1; MPEG-2 has half of them, 2.5 a quarter
_DIVISORS = {3: 1, 2: 2, 0: 4}  # by the two bits of the version
_SAME = 0xFFFE0C00  # bits of a header that stay from frame to frame
_ADTS_HEADER, _ADTS_RATES = 7, 13
_SURE = 2  # frames in one message: of samples one in 10^7 begins so
_IN_A_ROW = 3  # messages of one frame


class CodedFrames:
    """Whether the messages of one source are frames of an encoder."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def refuse(self, data: Any) -> None:
        """Look at the data of a message.

        Args:
            data: any buffer of bytes.

        Raises:
            InvalidFrameError: it is made of frames, for sure.
        """
        kind, frames = frames_of(memoryview(data).cast("B"))
        self._in_a_row = self._in_a_row + 1 if frames else 0
        if frames >= _SURE or self._in_a_row >= _IN_A_ROW:
            raise InvalidFrameError(
                f"data expects samples, got frames of {kind}, whatever is said beside them: let "
                "the driver publish samples (audio_capture: format: wave)"
            )


def frames_of(raw: memoryview) -> tuple[str, int]:
    """Return of what encoder the bytes are frames, from first to last, and how many.

    ("", 0) where they are not.
    """
    at, frames, first = 0, 0, 0
    kind = ""
    while at + _ADTS_HEADER <= len(raw):
        header = int.from_bytes(raw[at : at + 4], "big")
        if frames and (header ^ first) & _SAME:
            return "", 0
        first = header
        kind, length = _frame(raw, at, header)
        if not length:
            return "", 0
        at, frames = at + length, frames + 1
    return (kind, frames) if at == len(raw) and frames else ("", 0)


def _frame(raw: memoryview, at: int, header: int) -> tuple[str, int]:
    """Return the kind and the length of the frame whose header this is; 0: it is none."""
    if header >> 20 == 0xFFF and not header >> 17 & 3:
        return "AAC", _adts_bytes(raw, at, header)
    if header >> 21 != 0x7FF:
        return "", 0
    divisor, layer = _DIVISORS.get(header >> 19 & 3), 4 - (header >> 17 & 3)
    index, rate = header >> 12 & 15, header >> 10 & 3
    if divisor is None or layer not in (2, 3) or index in (0, 15) or rate == 3:
        return "", 0
    table = _LOW if divisor > 1 else _LAYER_3 if layer == 3 else _LAYER_2
    factor = 72 if layer == 3 and divisor > 1 else 144
    length = factor * table[index] * 1000 * divisor // _RATES_HZ[rate] + (header >> 9 & 1)
    return "MP3" if layer == 3 else "MPEG audio", length


def _adts_bytes(raw: memoryview, at: int, header: int) -> int:
    """Return the length of a frame of AAC in ADTS (ISO 13818-7, 6.2); 0: it is none."""
    length = (raw[at + 3] & 3) << 11 | raw[at + 4] << 3 | raw[at + 5] >> 5
    known = (header >> 10 & 15) < _ADTS_RATES
    return length if known and length > _ADTS_HEADER else 0
