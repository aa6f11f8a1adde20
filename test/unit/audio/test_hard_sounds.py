"""Sounds that are no sirens: each is heard, repeatable, and training does not know the test."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="no SciPy: the sounds of training are made with it")

from training.hard_sounds import HARD, LIKE_HORNS, VOICES
from training.held_out_sounds import HELD_OUT, clip
from training.mixtures import mixture
from training.siren_kinds import stream
from training.sounds import RATE_HZ

WINDOW = 15_760


@pytest.mark.parametrize("kind", HARD)
def test_every_kind_is_heard_and_repeatable(kind: str) -> None:
    first, again, other = (HARD[kind](np.random.default_rng(s), 2 * WINDOW) for s in (1, 1, 2))
    assert first.shape == (2 * WINDOW,)
    assert np.isfinite(first).all()
    assert np.abs(first).max() > 1e-2
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", HELD_OUT)
def test_clips_of_the_test_are_heard_and_not_of_training(kind: str) -> None:
    first = clip(kind, 0, 2.0)
    assert first.dtype == np.float32
    assert 0.04 < np.abs(first).max() <= 0.91
    np.testing.assert_array_equal(first, clip(kind, 0, 2.0))
    assert not np.array_equal(first, clip(kind, 1, 2.0))
    assert HELD_OUT[kind].__module__ not in {make.__module__ for make in HARD.values()}


def test_windows_are_labelled_by_what_is_in_them() -> None:
    assert {*LIKE_HORNS, *VOICES} <= set(HARD)
    made = [mixture(np.random.default_rng([9, i]), WINDOW) for i in range(12)]
    assert all(np.isfinite(wave).all() and np.abs(wave).max() <= 1.0 for wave, _, _ in made)
    labels, certain = (np.array([item[k] for item in made]) for k in (1, 2))
    assert set(np.unique(labels)) <= {0.0, 1.0}
    assert 0 < labels[:, 0].sum() < 12
    assert certain.mean() > 0.7


@pytest.mark.parametrize("number", range(8))
def test_a_siren_sounds_on_and_most_of_it_is_tones(number: int) -> None:
    first, again = (stream(np.random.default_rng([3, number]), 3 * RATE_HZ) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.sqrt(np.mean(first**2)) == pytest.approx(1.0, abs=1e-6)
    for part in first.reshape(-1, RATE_HZ // 10):  # a tenth of a second: hardly any glide is wider
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        assert np.sqrt(np.mean(part**2)) > 0.1
        assert np.sort(power)[-len(power) // 5 :].sum() > 0.9 * power.sum()
        assert power[:10].sum() < 0.1 * power.sum()  # below 100 Hz
