from array import array

import numpy as np
import pytest
from audio_messages import chunk, header

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.audio.conversion import MAX_BLOCK_S, block_from_chunk


def s16(*values):
    return np.array(values, "<i2").tobytes()


def f32(*values):
    return np.array(values, "<f4").tobytes()


def test_s16_is_scaled_to_full_scale():
    block = block_from_chunk(chunk(s16(32767, 0, -32767)))
    np.testing.assert_allclose(block.samples, [[1.0], [0.0], [-1.0]], atol=1e-7)
    assert block.samples.dtype == np.float32


def test_channels_are_interleaved():
    block = block_from_chunk(chunk(f32(0.1, -0.1, 0.2, -0.2), format="f32le", channels=2))
    np.testing.assert_allclose(block.samples, [[0.1, -0.1], [0.2, -0.2]])


def test_stamp_frame_and_index_are_kept():
    message = chunk(
        s16(1),
        header=header(1_234_567_890_123_456_789, "mic_left"),
        first_sample_index=2**40,
        sample_rate=44_100,
    )
    block = block_from_chunk(message)
    assert block.stamp_ns == 1_234_567_890_123_456_789
    assert (block.frame_id, block.first_sample_index) == ("mic_left", 2**40)
    assert block.sample_rate_hz == 44_100


@pytest.mark.parametrize("make", [bytes, bytearray, lambda b: np.frombuffer(b, np.uint8)])
def test_every_kind_of_buffer_is_read(make):
    block = block_from_chunk(chunk(b"", data=make(s16(100, 200))))
    np.testing.assert_allclose(block.samples[:, 0] * 32767, [100, 200], rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [1000, 8000, 22_050, 384_000])
def test_rates_within_range_are_taken(rate_hz):
    assert block_from_chunk(chunk(s16(1, 2), sample_rate=rate_hz)).sample_rate_hz == rate_hz


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "mp3"}, ["format", "s16le, f32le", "mp3"]),
        ({"format": ""}, ["format", "got ''"]),
        ({"channels": 0}, ["channels", "got 0"]),
        ({"channels": 1000}, ["channels", "got 1000"]),
        ({"sample_rate": 0}, ["sample_rate", "got 0"]),
        ({"sample_rate": 999}, ["sample_rate", "1000 to 384000", "999"]),
        ({"sample_rate": 384_001}, ["sample_rate", "384001"]),
        ({"data": array("B", b"abc")}, ["multiple of 2", "got 3"]),
        ({"data": array("B", bytes(6)), "channels": 2}, ["multiple of 4", "got 6"]),
        ({"data": array("B")}, ["multiple of 2", "got 0"]),
        ({"data": array("B", f32(0.0, np.nan)), "format": "f32le"}, ["finite", "nan"]),
        ({"data": array("B", f32(np.inf)), "format": "f32le"}, ["finite", "inf"]),
        ({"data": array("B", f32(20_000.0)), "format": "f32le"}, ["full scale", "20000"]),
        (
            {"data": array("B", bytes(2 * (int(MAX_BLOCK_S) * 1000 + 1))), "sample_rate": 1000},
            ["at most 10 s"],
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(fields, words):
    with pytest.raises(InvalidFrameError) as raised:
        block_from_chunk(chunk(s16(1, 2), **fields))
    for word in words:
        assert word in str(raised.value)
