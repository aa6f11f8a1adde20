import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from audio_messages import blocks, tone

from edge_perception.core.errors import ManifestError
from edge_perception.core.schema import decode
from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig, mel_matrix
from edge_perception.encoders.audio.stream import StreamAssembler
from edge_perception.models.adapters.yamnet import PREPROCESSING

CONFIG = decode(LogMelConfig, PREPROCESSING, "preprocessing")


def reference_frame(samples):
    """One log-mel frame by the definitions, sample by sample and bin by bin."""

    def mel(frequency_hz):
        return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)

    windowed = [x * math.sin(math.pi * n / 400) ** 2 for n, x in enumerate(samples)]
    edges = [mel(125) + k * (mel(7500) - mel(125)) / 65 for k in range(66)]
    bands = [0.0] * 64
    n = np.arange(400)
    for k in range(1, 257):
        magnitude = abs(np.sum(windowed * np.exp(-2j * np.pi * k * n / 512)))
        position = mel(k * 16_000 / 512)
        for band in range(64):
            low, center, high = edges[band : band + 3]
            if low < position < high:
                rising = position <= center
                weight = (
                    (position - low) / (center - low)
                    if rising
                    else (high - position) / (high - center)
                )
                bands[band] += weight * magnitude
    return [math.log(value + 0.001) for value in bands]


def stream_windows(samples, *, block=1600):
    stream = StreamAssembler(
        rate_hz=16_000, window_samples=CONFIG.patch_samples, hop_samples=CONFIG.patch_hop_samples
    )
    return [w for b in blocks(samples, block=block) if (w := stream.push(b)) is not None]


@pytest.fixture(scope="module")
def sound():
    noise = np.random.default_rng(5).normal(0, 0.05, 64_000).astype(np.float32)
    return tone(4.0, frequency_hz=900.0, amplitude=0.3) + noise


def test_sizes_are_yamnets():
    assert (CONFIG.window_samples, CONFIG.hop_samples) == (400, 160)
    assert CONFIG.patch_samples == 15_600  # 0.975 s, as its model card says


def test_frames_follow_the_definition(sound):
    frames = LogMel(CONFIG).frames(sound[:1200])
    assert frames.shape == (6, 64)
    assert frames.dtype == np.float32
    for index in range(6):
        expected = reference_frame(sound[index * 160 : index * 160 + 400])
        np.testing.assert_allclose(frames[index], expected, atol=2e-3)


def test_silence_is_the_offset():
    frames = LogMel(CONFIG).frames(np.zeros(400, np.float32))
    np.testing.assert_allclose(frames, math.log(0.001), rtol=1e-6)


def test_triangles_cover_the_band_and_nothing_else():
    weights = mel_matrix(CONFIG)
    frequencies_hz = np.arange(257) * 16_000 / 512
    assert weights[0].sum() == 0.0
    assert weights[(frequencies_hz < 125) | (frequencies_hz > 7500)].sum() == 0.0
    inside = (frequencies_hz > 200) & (frequencies_hz < 7200)
    np.testing.assert_allclose(weights[inside].sum(axis=1), 1.0, atol=1e-5)


def test_only_new_frames_are_computed(sound):
    computed = []

    class Counting(LogMel):
        def frames(self, samples):
            frames = super().frames(samples)
            computed.append(len(frames))
            return frames

    log_mel = Counting(CONFIG)
    windows = stream_windows(sound)
    for window in windows:
        log_mel.patch(window)
    hop = CONFIG.patch_hop_frames
    assert computed == [CONFIG.patch_frames, *[hop] * (len(windows) - 1)]


@pytest.mark.parametrize("seed", range(5))
def test_dropped_windows_change_nothing(sound, seed):
    windows = stream_windows(sound)
    kept = np.random.default_rng(seed).random(len(windows)) < 0.4
    log_mel = LogMel(CONFIG)
    for window, keep in zip(windows, kept, strict=True):
        if keep:
            expected = LogMel(CONFIG).frames(window.samples)
            np.testing.assert_allclose(log_mel.patch(window), expected, atol=1e-5)


def test_a_new_segment_takes_nothing_over(sound):
    log_mel = LogMel(CONFIG)
    window = stream_windows(sound)[0]
    log_mel.patch(window)
    quiet = replace(window, segment=window.segment + 1, samples=np.zeros_like(window.samples))
    assert log_mel.patch(quiet).max() < math.log(0.0011)


def test_windows_out_of_order_are_right_too(sound):
    windows = stream_windows(sound)
    log_mel = LogMel(CONFIG)
    for index in (7, 3, 4, 4, 0):
        expected = LogMel(CONFIG).frames(windows[index].samples)
        np.testing.assert_allclose(log_mel.patch(windows[index]), expected, atol=1e-5)


LONG = replace(CONFIG, history_frames=150, history_input="history")


def heard_until(sound, window):
    """The newest 246 frames up to a window's end, silence before the stream began."""
    frames = LogMel(CONFIG).frames(sound[: window.first_sample + CONFIG.patch_samples])
    silence = np.full((246, 64), math.log(0.001), np.float32)
    return np.concatenate([silence, frames])[-246:]


@pytest.mark.parametrize("seed", range(5))
def test_the_history_is_what_was_before_the_patch_whatever_windows_are_dropped(sound, seed):
    random = np.random.default_rng(seed)
    log_mel = LogMel(LONG)
    for index, window in enumerate(stream_windows(sound)):
        if index == 0 or random.random() < 0.5:
            both = np.concatenate([log_mel.patch(window).copy(), log_mel.history.copy()])
            expected = heard_until(sound, window)
            np.testing.assert_allclose(both[:96], expected[150:], atol=1e-5)
            np.testing.assert_allclose(both[96:], expected[:150], atol=1e-5)


def test_a_patch_that_begins_where_the_one_before_ended_keeps_the_history():
    config = replace(LONG, patch_hop_frames=96)
    sound = np.random.default_rng(1).normal(0, 0.1, 64_000).astype(np.float32)
    stream = StreamAssembler(
        rate_hz=16_000, window_samples=config.patch_samples, hop_samples=config.patch_hop_samples
    )
    windows = [w for b in blocks(sound) if (w := stream.push(b)) is not None]
    assert len(windows) >= 3
    log_mel = LogMel(config)
    for window in windows:
        log_mel.patch(window)
    np.testing.assert_allclose(log_mel.history, heard_until(sound, windows[-1])[:150], atol=1e-5)


@pytest.mark.parametrize("how", ["segment", "back", "far"])
def test_a_history_that_does_not_lead_to_the_patch_is_silence(sound, how):
    windows = stream_windows(sound)
    log_mel = LogMel(LONG)
    for window in windows[:12]:
        log_mel.patch(window)
    assert log_mel.history.max() > math.log(0.01)
    after = {
        "segment": replace(windows[12], segment=windows[12].segment + 1),
        "back": windows[3],
        "far": windows[11 + 10],  # 100 frames on: four were never seen
    }[how]
    expected = LogMel(CONFIG).frames(after.samples)
    np.testing.assert_allclose(log_mel.patch(after), expected, atol=1e-5)
    np.testing.assert_allclose(log_mel.history, math.log(0.001), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window_s": 0.02503}, "window_s: expected whole samples"),
        ({"hop_s": 0.01001}, "hop_s: expected whole samples"),
        ({"fft_size": 256}, "fft_size: expected at least 400"),
        ({"mel_max_hz": 9000.0}, "mel_max_hz: .*at most 8000"),
        ({"mel_max_hz": 100.0}, "mel_max_hz: .*more than mel_min_hz"),
        ({"mel_scale": "bark"}, "mel_scale: expected one of htk"),
        ({"patch_frames": 0}, "patch_frames: expected 1 to"),
        ({"gain": 2.0}, "gain: expected one of"),
        ({"history_frames": 5}, "history_input: expected with history_frames"),
        ({"history_input": "history"}, "history_input: expected with history_frames"),
    ],
)
def test_a_wrong_manifest_is_refused_by_field(change, words):
    with pytest.raises(ManifestError, match=words):
        decode(LogMelConfig, {**asdict(CONFIG), **change}, "preprocessing", error=ManifestError)
