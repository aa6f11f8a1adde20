import re
from dataclasses import replace

import numpy as np
import pytest
from audio_messages import blocks, tone

from edge_perception.core.errors import InvalidFrameError, RestartedStreamError
from edge_perception.core.types import AudioBlock
from edge_perception.encoders.audio.content import AudioContentCheck, AudioContentLimits
from edge_perception.encoders.audio.stream import StreamAssembler
from edge_perception.encoders.content import Verdict

START_NS = 10_000_000_000
SECOND_NS = 1_000_000_000


def assembler(window=8000, hop=1600):
    return StreamAssembler(rate_hz=16_000, window_samples=window, hop_samples=hop)


def push(stream, given):
    return [window for block in given if (window := stream.push(block)) is not None]


def noise(seconds, rate_hz=16_000):
    return np.random.default_rng(3).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)


def test_a_window_each_hop_with_its_own_samples_and_times():
    samples = noise(1.0)
    windows = push(assembler(), blocks(samples))
    assert [w.first_sample for w in windows] == [0, 1600, 3200, 4800, 6400, 8000]
    for window in windows:
        first = window.first_sample
        np.testing.assert_array_equal(window.samples, samples[first : first + 8000])
        assert window.window_start_ns == START_NS + first * SECOND_NS // 16_000
        assert window.window_end_ns - window.window_start_ns == SECOND_NS // 2


def test_the_stamp_is_that_of_the_newest_block_untouched():
    given = blocks(noise(0.6), block=700)
    stream = assembler()
    for block in given:
        window = stream.push(block)
        assert window is None or window.stamp_ns == block.stamp_ns
        assert window is None or window.frame_id == "microphone"
    assert stream.counts.skipped_windows == 0


@pytest.mark.parametrize("drift_ppm", [-300.0, 0.0, 80.0])
def test_times_are_those_of_the_samples_though_the_card_drifts_and_stamps_come_late(drift_ppm):
    rng, stream = np.random.default_rng(1), assembler()
    errors_ms, stamp_errors_ms = [], []
    for number, block in enumerate(blocks(noise(40.0))):
        taken_ns = START_NS + number * SECOND_NS / 10 * (1.0 + drift_ppm * 1e-6)
        stamp_ns = round(taken_ns + rng.uniform(0.0, 5e6))  # up to 5 ms late
        window = stream.push(replace(block, stamp_ns=stamp_ns))
        if window is not None and number > 100:
            start_s = window.first_sample / 16_000 * (1.0 + drift_ppm * 1e-6)
            errors_ms.append((window.window_start_ns - START_NS) / 1e6 - start_s * 1e3)
            stamp_errors_ms.append((stamp_ns - taken_ns) / 1e6)
    assert stream.clock.drift_ppm == pytest.approx(drift_ppm, abs=12.0)
    assert max(map(abs, errors_ms)) < 1.2, "0.5 ms: the least delay of ten blocks, in the mean"
    assert np.std(errors_ms) < np.std(stamp_errors_ms) / 4


def test_a_clock_that_is_set_starts_the_fit_anew():
    stream = assembler()
    for number, block in enumerate(blocks(noise(20.0))):
        set_ns = 2 * SECOND_NS if number >= 120 else 0
        window = stream.push(replace(block, stamp_ns=block.stamp_ns + set_ns))
        if window is not None and number >= 125:
            expected_ns = START_NS + set_ns + window.first_sample * SECOND_NS // 16_000
            assert abs(window.window_start_ns - expected_ns) < 1000
    assert stream.clock.drift_ppm == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 48_000])
def test_windows_at_another_rate_start_at_their_time(rate_hz):
    click_s = 0.7
    samples = np.zeros(rate_hz, np.float32)
    samples[round(click_s * rate_hz)] = 1.0
    windows = push(assembler(), blocks(samples, rate_hz=rate_hz, block=rate_hz // 10))
    found = [w for w in windows if np.abs(w.samples).max() > 0.05]
    assert found
    for window in found:
        offset_s = np.abs(window.samples).argmax() / 16_000
        heard_s = (window.window_start_ns - START_NS) / 1e9 + offset_s
        assert heard_s == pytest.approx(click_s, abs=1 / 16_000)


def test_channels_are_mixed():
    samples = noise(0.6)
    stereo = np.stack([samples, -samples], axis=1)
    assert np.abs(push(assembler(), blocks(stereo))[0].samples).max() < 1e-7


def test_a_gap_is_named_once_and_nothing_is_glued_across_it():
    samples = noise(2.0)
    given = blocks(samples)
    stream = assembler()
    push(stream, given[:7])
    with pytest.raises(InvalidFrameError, match=r"gap of 3200 samples .*expected 11200, got 14400"):
        stream.push(given[9])
    after = push(stream, given[10:])
    assert stream.counts.gaps == 1
    assert after[0].segment == 2
    np.testing.assert_array_equal(after[0].samples, samples[14400 : 14400 + 8000])
    assert after[0].window_start_ns == given[9].stamp_ns


def test_a_restarted_device_is_no_repeat():
    stream = assembler()
    push(stream, blocks(noise(0.3)))
    again = blocks(noise(1.0), start_ns=START_NS + 2 * SECOND_NS)
    with pytest.raises(InvalidFrameError, match=r"restarted: .*expected 4800, got 0"):
        stream.push(again[0])
    after = push(stream, again[1:])
    # At once, with silence in front of what is heard since: one frame is lost, not ten.
    assert len(after) == 9
    assert [window.silent_s for window in after] == pytest.approx([0.3, 0.2, 0.1, *[0.0] * 6])
    assert after[0].window_start_ns == again[0].stamp_ns - 3 * SECOND_NS // 10
    assert not after[0].samples[:4800].any()
    np.testing.assert_array_equal(after[0].samples[4800:], noise(1.0)[:3200])
    assert after[3].window_start_ns == again[0].stamp_ns
    assert (stream.counts.restarts, stream.counts.gaps) == (1, 0)


def test_a_device_that_starts_anew_with_every_block_is_broken():
    """Once costs a frame and passes; a count that never goes on is a fault."""
    stream = assembler()
    push(stream, blocks(noise(1.0)))
    again = [replace(blocks(noise(0.1))[0], stamp_ns=START_NS + k * SECOND_NS) for k in range(5, 8)]
    raised = []
    for block in again:
        with pytest.raises(InvalidFrameError, match="restarted") as error:
            stream.push(block)
        raised.append(isinstance(error.value, RestartedStreamError))
    assert raised == [True, False, False]


def test_a_looped_recording_is_a_restart():
    given = blocks(noise(3.0))
    stream = assembler()
    push(stream, given)
    with pytest.raises(InvalidFrameError, match="restarted"):
        stream.push(given[0])
    assert len(push(stream, given[1:])) == 29


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample_rate_hz": 48_000}, "expected 16000 Hz with 1 channels as before, got 48000 Hz"),
        (
            {"samples": np.zeros((1600, 2), np.float32)},
            "got 16000 Hz with 2; the window starts anew",
        ),
    ],
)
def test_a_changed_format_starts_anew(change, words):
    given = blocks(noise(0.4))
    stream = assembler()
    push(stream, given[:3])
    with pytest.raises(InvalidFrameError, match=words):
        stream.push(replace(given[3], **change))
    assert stream.counts.format_changes == 1


def test_repeated_samples_are_trimmed():
    samples = noise(2.0)
    given = blocks(samples)
    overlapping = [  # each block starts 400 samples early
        replace(
            b,
            samples=samples[max(b.first_sample_index - 400, 0) : b.first_sample_index + 1600, None],
            first_sample_index=max(b.first_sample_index - 400, 0),
            stamp_ns=START_NS + max(b.first_sample_index - 400, 0) * SECOND_NS // 16_000,
        )
        for b in given
    ]
    twice = [block for block in overlapping for _ in range(2)]
    stream = assembler()
    windows = push(stream, twice)
    for window, expected in zip(windows, push(assembler(), given), strict=True):
        np.testing.assert_array_equal(window.samples, expected.samples)
        assert window.window_start_ns == expected.window_start_ns
    assert stream.counts.repeated_samples > 0
    assert stream.counts.restarts == 0


def test_a_block_longer_than_a_hop_gives_the_newest_window_and_counts_the_rest():
    samples = noise(2.0)
    stream = assembler()
    windows = push(stream, blocks(samples, block=16_000))
    assert [w.first_sample for w in windows] == [8000, 24_000 - 24_000 % 1600]
    assert stream.counts.skipped_windows == 5 + 9


def test_a_hop_longer_than_the_window():
    windows = push(assembler(window=1000, hop=5000), blocks(noise(1.0)))
    assert [w.first_sample for w in windows] == [0, 5000, 10_000, 15_000]


def test_reset_is_no_gap():
    given = blocks(noise(2.0))
    stream = assembler()
    push(stream, given[:6])
    stream.reset()
    after = push(stream, given[8:])
    assert after[0].window_start_ns == given[8].stamp_ns
    assert stream.counts.gaps == 0


def test_memory_stays_that_of_a_window():
    stream = assembler()
    for block in blocks(tone(30.0)):
        stream.push(block)
        assert len(stream._collected) <= 8000 + 1600


@pytest.mark.parametrize(
    ("told_hz", "verdict", "words"),
    [
        (16_000, Verdict.GOOD, ""),
        (17_600, Verdict.DOUBTFUL, "off by 9% > content.rate_warn_share 5%"),
        (8_000, Verdict.WORTHLESS, r"16\d{3} samples a second came, .* of 8000: is sample_rate"),
        (32_000, Verdict.WORTHLESS, "off by 50% > content.rate_share 20%"),
    ],
)
def test_a_rate_that_the_stamps_contradict_is_named(told_hz, verdict, words):
    """As of a wrong number of channels: every block is readable."""
    stream, check = assembler(), AudioContentCheck(AudioContentLimits())
    jitter = np.random.default_rng(5).integers(0, 20_000_000, 200)
    windows = []
    for index, late_ns in enumerate(jitter):
        block = AudioBlock(
            stamp_ns=START_NS + index * SECOND_NS // 10 + int(late_ns),
            frame_id="",
            samples=noise(0.1)[:, None],
            sample_rate_hz=told_hz,
            first_sample_index=index * 1_600,
        )
        windows.append(stream.push(block))
    found = [check.check(window) for window in windows if window is not None]
    assert found[-1].verdict is verdict
    assert re.search(words, found[-1].text)
    assert found[0].verdict is Verdict.GOOD, "nothing is known yet"


@pytest.mark.parametrize("step_s", [-10, -3, 3, 10])
def test_a_clock_that_is_set_is_no_wrong_rate(step_s):
    stream, check = assembler(), AudioContentCheck(AudioContentLimits())
    found = []
    for index in range(200):
        step_ns = step_s * SECOND_NS if index >= 80 else 0
        block = AudioBlock(
            stamp_ns=START_NS + index * SECOND_NS // 10 + step_ns,
            frame_id="",
            samples=noise(0.1)[:, None],
            sample_rate_hz=16_000,
            first_sample_index=index * 1_600,
        )
        window = stream.push(block)
        if window is not None:
            found.append(check.check(window))
    assert {finding.verdict for finding in found} == {Verdict.GOOD}
