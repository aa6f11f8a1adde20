"""What hard sounds are made of: glides, rows of events, strokes and filters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfilt

from training.sounds import RATE_HZ, Wave, harmonics, noise, normalised


def seconds(length_s: float) -> int:
    """Return samples, at least a few."""
    return max(int(length_s * RATE_HZ), 32)


def row(
    rng: np.random.Generator,
    samples: int,
    make: Callable[[], Wave],
    gap_s: tuple[float, float],
    *,
    at_most: int = 1000,
) -> Wave:
    """Return events one after another, with pauses in between; the first may have begun before."""
    wave = np.zeros(samples)
    at = int(rng.uniform(-0.3, 0.5) * min(samples, 2 * RATE_HZ))
    for _ in range(at_most):
        event = make()
        start, end = max(at, 0), min(at + len(event), samples)
        if end > start:
            wave[start:end] += event[start - at : end - at]
        at += len(event) + int(rng.uniform(*gap_s) * RATE_HZ)
        if at >= samples:
            break
    return wave


def arc(length: int, rise: float, fall: float) -> Wave:
    """Return an envelope that rises and falls over these shares of its length."""
    u = np.linspace(0.0, 1.0, length)
    return np.clip(np.minimum(u / max(rise, 1e-3), (1 - u) / max(fall, 1e-3)), 0.0, 1.0)


def curve(rng: np.random.Generator, length: int, knots: list[float], wander: float = 0.0) -> Wave:
    """Return a smooth line through knots, evenly spread, and a little aside of it."""
    u = np.linspace(0.0, len(knots) - 1.0, length)
    line = np.interp(u, np.arange(len(knots)), knots)
    window = max(length // (4 * len(knots)), 1)
    sums = np.cumsum(np.pad(line, (window + 1, window), mode="edge"))
    line = (sums[2 * window + 1 :] - sums[: -2 * window - 1]) / (2 * window + 1)
    if wander:
        slow = np.cumsum(rng.standard_normal(length)) / np.sqrt(RATE_HZ)
        line = line * (1 + wander * (slow - slow.mean()))
    return line


def voiced(
    rng: np.random.Generator,
    pitch_hz: Wave,
    *,
    partials: int = 12,
    fall: float = 1.0,
    breath: float = 0.05,
    formants: int = 0,
) -> Wave:
    """Return a harmonic tone of a pitch over time, with breath, through a few formants."""
    pitch = np.clip(pitch_hz, 20.0, 7000.0)
    most = max(1, min(partials, int(7500 / max(float(pitch.max()), 1.0))))
    wave = harmonics(rng, 2 * np.pi * np.cumsum(pitch) / RATE_HZ, most, fall)
    wave = normalised(wave) + breath * noise(rng, len(wave), rng.uniform(0, 1))
    for _ in range(formants):
        wave = normalised(wave) + normalised(band(rng, wave, rng.uniform(500, 4000)))
    return normalised(wave)


def band(rng: np.random.Generator, wave: Wave, centre_hz: float) -> Wave:
    """Return what passes a filter about a frequency."""
    width = rng.uniform(1.1, 1.6)
    edges = [max(centre_hz / width, 40.0), min(centre_hz * width, 7800.0)]
    return np.asarray(sosfilt(butter(1, edges, "band", fs=RATE_HZ, output="sos"), wave))


def stroke(
    rng: np.random.Generator, length: int, base_hz: float, ratios: list[float], decay_s: float
) -> Wave:
    """Return struck metal: partials that die away, the high ones sooner."""
    t = np.arange(length) / RATE_HZ
    wave = np.zeros(length)
    for ratio in ratios:
        f = base_hz * ratio * (1 + rng.normal(0, 0.004))
        if f < 7800:
            fade = np.exp(-t / (decay_s / ratio ** rng.uniform(0.2, 0.9)))
            wave += rng.uniform(0.2, 1.0) * fade * np.sin(2 * np.pi * f * t + rng.uniform(0, 6))
    return wave * arc(length, 0.001, 0.05)
