import numpy as np
import pytest
from audio_messages import tone
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.encoders.audio.resample import Resampler, to_mono


def resample(samples, rate_hz, *, cuts=()):
    resampler = Resampler(input_rate_hz=rate_hz, output_rate_hz=16_000)
    return np.concatenate([resampler.push(part) for part in np.split(samples, cuts)])


def test_mono_is_the_mean_of_the_channels():
    np.testing.assert_allclose(to_mono(np.array([[0.2, 0.4], [-1.0, 1.0]], np.float32)), [0.3, 0])


def test_equal_rate_passes_through():
    samples = tone(0.1)
    resampler = Resampler(input_rate_hz=16_000, output_rate_hz=16_000)
    assert resampler.push(samples) is samples
    assert resampler.delay_samples == 0


@pytest.mark.parametrize(
    "rate_hz", [1000, 8000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000]
)
def test_a_tone_comes_out_at_its_own_time_and_level(rate_hz):
    frequency_hz = 0.3 * min(rate_hz, 16_000)
    out = resample(tone(1.0, rate_hz=rate_hz, frequency_hz=frequency_hz), rate_hz)
    expected = tone(1.0, frequency_hz=frequency_hz)
    delay = Resampler(input_rate_hz=rate_hz, output_rate_hz=16_000).delay_samples / rate_hz
    assert len(out) == pytest.approx(16_000 * (1.0 - delay), abs=2)
    edge = round(delay * 16_000) + 1  # silence before the first sample rings this long
    np.testing.assert_allclose(out[edge:], expected[edge : len(out)], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [44_099, 15_991, 383_999])
def test_odd_rates_are_taken_with_a_bounded_filter(rate_hz):
    resampler = Resampler(input_rate_hz=rate_hz, output_rate_hz=16_000)
    out = resampler.push(tone(0.5, rate_hz=rate_hz, frequency_hz=1000.0))
    middle = slice(200, -200)
    expected = tone(0.5, frequency_hz=1000.0)[: len(out)]
    np.testing.assert_allclose(out[middle], expected[middle], atol=2e-3)


def test_what_lies_above_the_new_band_is_removed():
    out = resample(tone(1.0, rate_hz=48_000, frequency_hz=11_000.0), 48_000)
    assert np.abs(out[200:]).max() < 0.5 * 10 ** (-60 / 20)


@settings(max_examples=40)
@given(
    rate_hz=st.sampled_from([8000, 22_050, 44_100, 48_000, 44_099]),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_no_click_at_a_border_however_the_stream_is_cut(rate_hz, cuts):
    samples = np.random.default_rng(1).normal(0, 0.2, 4000).astype(np.float32)
    whole = resample(samples, rate_hz)
    np.testing.assert_allclose(resample(samples, rate_hz, cuts=sorted(cuts)), whole, atol=1e-6)


def test_agrees_with_scipy():
    signal = pytest.importorskip("scipy.signal")
    samples = np.convolve(  # noise below 6 kHz, where both filters pass everything
        np.random.default_rng(2).normal(0, 0.2, 48_000), signal.firwin(255, 6000, fs=48_000), "same"
    ).astype(np.float32)
    out = resample(samples, 48_000)
    expected = signal.resample_poly(samples, 1, 3, window=("kaiser", 8.0))[: len(out)]
    assert np.abs(out - expected)[100:-100].max() < 1e-3 * np.abs(samples).max()


def test_a_long_stream_keeps_its_clock():
    resampler = Resampler(input_rate_hz=44_100, output_rate_hz=16_000)
    total = sum(len(resampler.push(np.zeros(4410, np.float32))) for _ in range(600))
    assert total == (600 * 4410 - resampler.delay_samples - 1) * 160 // 441 + 1
