import wave
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from audio_messages import audio_data_stamped, audio_info, audio_stamped, blocks, chunk, header

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.audio.foreign import STAMP_TOLERANCE_S, MessageConverter

SECOND_NS = 1_000_000_000


def test_chunks_and_blocks_are_taken_too():
    converter = MessageConverter()
    assert converter.convert(chunk(bytes(4), first_sample_index=7)).first_sample_index == 7
    block = blocks(np.zeros(4))[0]
    assert converter.convert(block) is block


def test_audio_data_stamped_needs_its_info_first():
    converter = MessageConverter()
    message = audio_data_stamped(np.array([32767, -32767], "<i2").tobytes())
    with pytest.raises(InvalidFrameError, match="AudioInfo message before it"):
        converter.convert(message)
    assert converter.convert(audio_info(channels=2, sample_rate=48_000)) is None
    block = converter.convert(message)
    np.testing.assert_allclose(block.samples, [[1.0, -1.0]])
    assert (block.sample_rate_hz, block.frame_id) == (48_000, "microphone")


@pytest.mark.parametrize(
    ("sample_format", "data", "expected"),
    [
        ("S16LE", np.array([16384], "<i2"), 0.5),
        ("S16BE", np.array([16384], ">i2"), 0.5),
        ("S32LE", np.array([2**30], "<i4"), 0.5),
        ("S32BE", np.array([-(2**30)], ">i4"), -0.5),
        ("S24LE", np.array([0, 0, 0x40], "u1"), 0.5),
        ("S24LE", np.array([0, 0, 0xC0], "u1"), -0.5),
        ("S24BE", np.array([0x40, 0, 0], "u1"), 0.5),
        ("S24_32LE", np.array([2**22], "<i4"), 0.5),
        ("S24_32LE", np.array([0x00C00000], "<u4"), -0.5),  # the upper byte holds nothing
        ("S24_32BE", np.array([-(2**22)], ">i4"), -0.5),
        ("U16LE", np.array([49152], "<u2"), 0.5),
        ("S8", np.array([127], "i1"), 1.0),
        ("U8", np.array([128], "u1"), 0.0),
        ("F32LE", np.array([0.25], "<f4"), 0.25),
        ("F64LE", np.array([0.25], "<f8"), 0.25),
        ("F32BE", np.array([0.25], ">f4"), 0.25),
    ],
)
def test_gstreamer_formats(sample_format, data, expected):
    converter = MessageConverter()
    converter.convert(audio_info(sample_format=sample_format))
    block = converter.convert(audio_data_stamped(data.tobytes()))
    np.testing.assert_allclose(block.samples, [[expected]], atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"coding_format": "mp3"}, "coding_format expects wave, got 'mp3'"),
        ({"sample_format": "S20LE"}, "sample_format expects .*got 'S20LE'"),
        ({"channels": 0}, "channels expects"),
    ],
)
def test_info_that_cannot_be_used_is_refused(fields, words):
    converter = MessageConverter()
    converter.convert(audio_info(**fields))
    with pytest.raises(InvalidFrameError, match=words):
        converter.convert(audio_data_stamped(bytes(4)))


@pytest.mark.parametrize(
    ("portaudio", "data", "expected"),
    [
        (0x01, {"float32_data": array("f", [0.5, -0.5])}, [[0.5, -0.5]]),
        (0x02, {"int32_data": array("i", [2**30, 0])}, [[0.5, 0.0]]),
        (0x08, {"int16_data": array("h", [32767, 0])}, [[1.0, 0.0]]),
        (0x10, {"int8_data": array("b", [-127, 0])}, [[-1.0, 0.0]]),
        (0x20, {"uint8_data": array("B", [255, 128])}, [[1.0, 0.0]]),
    ],
)
def test_audio_stamped_takes_the_list_its_format_names(portaudio, data, expected):
    block = MessageConverter().convert(audio_stamped(format=portaudio, channels=2, **data))
    np.testing.assert_allclose(block.samples, expected, atol=1e-6)


def test_audio_stamped_refuses_packed_24_bit_and_empty_data():
    with pytest.raises(InvalidFrameError, match=r"PortAudio format .*got 4"):
        MessageConverter().convert(audio_stamped(format=4, int16_data=array("h", [0])))
    with pytest.raises(InvalidFrameError, match="multiple of 4"):
        MessageConverter().convert(audio_stamped(format=1, int16_data=array("h", [0])))


def test_an_unknown_message_is_refused_by_its_type():
    with pytest.raises(InvalidFrameError, match="got SimpleNamespace"):
        MessageConverter().convert(SimpleNamespace(header=header(), data=b""))


def indices(stamps_s):
    """Return the index given to blocks of 0.1 s with these stamps."""
    converter = MessageConverter()
    data = array("h", [0] * 1600)
    return [
        converter.convert(
            audio_stamped(round(s * SECOND_NS), format=8, int16_data=data)
        ).first_sample_index
        for s in stamps_s
    ]


def test_stamps_with_jitter_count_on():
    assert indices([1.0, 1.13, 1.19, 1.31]) == [0, 1600, 3200, 4800]


def test_missing_time_moves_the_index_on():
    assert indices([1.0, 1.1, 1.7]) == [0, 1600, 3200 + 8000]


def test_time_going_back_is_a_restart():
    assert indices([5.0, 5.1, 1.0, 1.1]) == [0, 1600, 0, 1600]


def test_slow_drift_is_no_gap():
    drift = [1.0 + 0.1 * k * 1.001 for k in range(2000)]
    assert drift[-1] - (1.0 + 0.1 * 1999) > STAMP_TOLERANCE_S
    assert indices(drift)[-1] == 1999 * 1600


def test_an_intake_made_later_knows_the_format_that_was_told_once():
    before = MessageConverter()
    before.convert(audio_info(sample_rate=8_000))
    before.convert(audio_data_stamped(bytes(1600)))
    after = before.copy()
    block = after.convert(audio_data_stamped(bytes(1600), stamp_ns=1_100_000_000))
    assert block is not None
    assert (block.sample_rate_hz, block.first_sample_index) == (8_000, 800)
    # and goes on alone
    block = before.convert(audio_data_stamped(bytes(1600), stamp_ns=1_100_000_000))
    assert block is not None
    assert block.first_sample_index == 800


@pytest.mark.parametrize("clip", ["rain", "siren_horn_voice", "street", "car_horn"])
@pytest.mark.parametrize("stored", ["<i2", ">i2"])
def test_sound_in_the_other_order_of_bytes_is_found_by_ear(data_dir, clip, stored):
    """Real sound: noisy, harmonic and with pauses, in blocks of 32 ms; the format says S16LE."""
    with wave.open(str(data_dir / "audio" / f"{clip}.wav")) as file:
        whole = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    converter = MessageConverter()
    converter.convert(audio_info())
    told = []
    for index in range(len(whole) // 512):
        of = whole[index * 512 : (index + 1) * 512]
        block = converter.convert(
            audio_data_stamped(
                of.astype(stored).tobytes(), stamp_ns=SECOND_NS + index * SECOND_NS * 512 // 16_000
            )
        )
        told.append(bool(block.notes))
    right = stored == "<i2"
    assert told[-1] is not right
    assert told == sorted(told), "once it is known it stays"
    np.testing.assert_allclose(block.samples[:, 0], of / 32767, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_in_the_order_that_it_says(seed):
    rng = np.random.default_rng(seed)
    converter = MessageConverter()
    converter.convert(audio_info())
    for index in range(300):
        loud = (1.0, 300.0, 8000.0)[seed]
        noise = np.clip(rng.normal(0, loud, 160), -32767, 32767).astype("<i2")
        stamp_ns = SECOND_NS + index * SECOND_NS // 100
        block = converter.convert(audio_data_stamped(noise.tobytes(), stamp_ns=stamp_ns))
        assert not block.notes
