"""Messages whose samples have the header of a file in front of them."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from audio_messages import audio_data_stamped, audio_info, chunk, tone

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.audio.conversion import block_from_chunk
from edge_perception.encoders.audio.foreign import MessageConverter

SAMPLES = (tone(0.1) * 32767).astype("<i2")


def wav(samples=SAMPLES, *, rate=16_000, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(samples.dtype.itemsize)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def of_floats(samples, *, extensible=False):
    tag = 0xFFFE if extensible else 3
    fmt = struct.pack("<HHIIHH", tag, 1, 16_000, 64_000, 4, 32)
    if extensible:
        fmt += struct.pack("<HHIH14s", 22, 32, 4, 3, b"\0" * 14)
    body = b"LIST\x03\0\0\0abc\0" + b"fmt " + struct.pack("<I", len(fmt)) + fmt
    body += b"data" + struct.pack("<I", 4 * len(samples)) + samples.astype("<f4").tobytes()
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body + b"LIST\x04\0\0\0abcd"


def converted(data, **info):
    converter = MessageConverter()
    converter.convert(audio_info(**info))
    return converter.convert(audio_data_stamped(data)).samples[:, 0]


def test_a_wav_header_is_no_sound():
    plain = converted(SAMPLES.tobytes())
    np.testing.assert_array_equal(converted(wav()), plain)
    np.testing.assert_array_equal(block_from_chunk(chunk(wav())).samples[:, 0], plain)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_stream_does_not_know_its_length(length):
    data = bytearray(wav())
    data[40:44] = struct.pack("<I", length)
    np.testing.assert_array_equal(converted(data), converted(SAMPLES.tobytes()))


@pytest.mark.parametrize("extensible", [True, False])
def test_floats_and_other_parts_of_the_file(extensible):
    samples = tone(0.1)
    data = of_floats(samples, extensible=extensible)
    np.testing.assert_array_equal(converted(data, sample_format="F32LE"), samples)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (wav(rate=44_100), "WAV header in the data says s16le, 44100 Hz, 1 channels; expected"),
        (wav(channels=2), "2 channels; expected s16le, 16000 Hz, 1 channels"),
        (of_floats(tone(0.1)), "says f32le, 16000 Hz"),
        (wav()[:15], "without fmt"),
        (wav()[:30], "fmt expects 16 bytes or more, got 10"),
        (wav()[:36], "without data"),
        (wav()[:20] + b"\x55\0" + wav()[22:], "format 85 of 16 bits"),
        (b"OggS" + bytes(200), "file of Ogg"),
        (b"ID3\x04" + bytes(200), "file of MP3"),
        (b"fLaC" + bytes(200), "file of FLAC"),
    ],
)
def test_what_is_not_what_was_said_is_refused_by_name(data, text):
    with pytest.raises(InvalidFrameError, match=text):
        converted(data)


def test_floats_that_are_said_to_be_whole_numbers_are_refused():
    sound = tone(0.1).astype("<f4")
    with pytest.raises(InvalidFrameError, match="expects whole numbers of 32 bits, got floats"):
        converted(sound.tobytes(), sample_format="S32LE")
    for level in (1.0, 1e-2, 1e-4):
        whole = (sound * level * (2**31 - 1)).astype("<i4")
        np.testing.assert_allclose(
            converted(whole.tobytes(), sample_format="S32LE"), sound * level, atol=1e-6
        )
    assert not converted(np.zeros(400, "<i4").tobytes(), sample_format="S32LE").any()
