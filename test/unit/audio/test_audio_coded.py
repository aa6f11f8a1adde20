"""Frames of MP3 and AAC that are said to be samples: told by what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from audio_messages import audio_data_stamped, audio_info, chunk, tone

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.audio.coded import CodedFrames, frames_of
from edge_perception.encoders.audio.foreign import MessageConverter

RNG = np.random.default_rng(5)


def frame(header: int, length: int) -> bytes:
    return header.to_bytes(4, "big") + RNG.integers(0, 256, length - 4, np.uint8).tobytes()


def mp3(bits: int, length: int) -> bytes:
    """MPEG-1 layer III, 44.1 kHz without padding, the index of the bit rate given."""
    return frame(0xFFFB0000 | bits << 12, length)


def aac(length: int) -> bytes:
    """ADTS, low complexity, 16 kHz, one channel."""
    head = (0xFFF1 << 40) | (1 << 38) | (8 << 34) | (1 << 30) | (length << 13) | (0x7FF << 2)
    return head.to_bytes(7, "big") + RNG.integers(0, 256, length - 7, np.uint8).tobytes()


MP3 = mp3(9, 417)  # 128 kbit/s: 144 * 128000 / 44100
KINDS = {
    "MP3": MP3 + mp3(8, 365) + MP3,  # 112 kbit/s between: a variable bit rate
    # MPEG-2 at 16 kHz, 64 kbit/s: 72 * 64000 / 16000 bytes
    "MP3 of MPEG-2": b"".join(frame(0xFFF38800, 288) for _ in range(3)),
    "MPEG audio": b"".join(frame(0xFFFD8400, 384) for _ in range(3)),  # layer II, 48 kHz, 128
    "AAC": aac(180) + aac(211) + aac(93),
}


@pytest.mark.parametrize("name", KINDS)
def test_several_frames_in_a_message_are_told_at_once(name):
    data = KINDS[name]
    kind, count = frames_of(memoryview(data))
    assert (kind, count) == (name.removesuffix(" of MPEG-2"), 3)
    with pytest.raises(InvalidFrameError, match=f"got frames of {kind}, whatever is said"):
        CodedFrames().refuse(memoryview(data))


def test_a_frame_a_message_is_told_at_the_third():
    coded = CodedFrames()
    coded.refuse(memoryview(MP3))
    coded.refuse(memoryview(mp3(8, 365)))
    with pytest.raises(InvalidFrameError, match="frames of MP3"):
        coded.refuse(memoryview(MP3))
    coded.refuse(memoryview(np.zeros(800, "<i2").tobytes()))  # the driver was set right
    coded.refuse(memoryview(MP3))


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_what_is_not_made_of_frames_from_first_to_last_is_sound(cut):
    assert frames_of(memoryview(KINDS["MP3"][:-cut])) == ("", 0)
    assert frames_of(memoryview(KINDS["MP3"] + b"\0" * cut)) == ("", 0)


@pytest.mark.parametrize("kind", ["<i2", "<f4", "u1"])
def test_samples_are_no_frames(kind):
    for seed in range(300):
        rng = np.random.default_rng(seed)
        loud = rng.normal(0, 0.3, 1024)
        scale = {"<i2": 32767, "<f4": 1, "u1": 100}[kind]
        samples = (loud * scale + (128 if kind == "u1" else 0)).astype(kind)
        assert frames_of(memoryview(samples.tobytes())) == ("", 0)
    assert frames_of(memoryview(b"")) == ("", 0)
    assert frames_of(memoryview(b"\xff" * 4096)) == ("", 0)


def test_audio_common_that_says_wave_and_sends_mp3():
    converter = MessageConverter()
    converter.convert(audio_info(coding_format="WAVE"))
    with pytest.raises(InvalidFrameError, match=r"frames of MP3.*format: wave"):
        converter.convert(audio_data_stamped(KINDS["MP3"]))
    samples = (tone(0.1) * 32767).astype("<i2").tobytes()
    assert converter.convert(audio_data_stamped(samples)) is not None


def test_a_chunk_too():
    with pytest.raises(InvalidFrameError, match="frames of AAC"):
        MessageConverter().convert(chunk(KINDS["AAC"] + aac(113)))
