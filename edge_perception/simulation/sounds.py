"""Sounds as waveforms, each as it would be one metre from its source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_Wave = NDArray[np.float32]


def shaped_noise(
    rng: np.random.Generator, count: int, gain: Callable[[NDArray], NDArray]
) -> NDArray[np.float32]:
    """Return noise of RMS 1 whose spectrum follows `gain`, a function of the frequency in Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE_HZ)
    wave = np.fft.irfft(spectrum * gain(frequency), count)
    return (wave / max(float(np.std(wave)), 1e-9)).astype(np.float32)


def _sweep_hz(kind: str, t: NDArray, rng: np.random.Generator) -> NDArray:
    """Return the pitch of a siren over time, Hz."""
    start = rng.uniform(0, 10)
    if kind == "hi_lo":  # two tones a fourth apart, as in Europe
        low = rng.uniform(400, 700)
        high = low * rng.uniform(1.25, 1.4)
        return np.where(np.mod((t + start) / rng.uniform(0.9, 1.5), 1.0) < 0.5, high, low)
    rate_hz = rng.uniform(0.16, 0.35) if kind == "wail" else rng.uniform(2.3, 4.0)
    low, high = rng.uniform(480, 750), rng.uniform(1150, 1700)
    phase = np.mod((t + start) * rate_hz, 1.0)
    rise = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    return low * (high / low) ** rise


def siren(kind: str, count: int, rng: np.random.Generator) -> _Wave:
    """Return a siren: ``wail``, ``yelp`` or ``hi_lo``."""
    t = np.arange(count) / SAMPLE_RATE_HZ
    pitch = _sweep_hz(kind, t, rng)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    drive, odd = rng.uniform(1.0, 3.5), rng.uniform(0.0, 0.4)
    # A horn loudspeaker driven hard: soft clipping gives the harmonics, added one by one so that
    # those above half the sample rate can be left out.
    cycle = 2 * np.pi * np.arange(256) / 256
    harmonics = np.fft.rfft(np.tanh(drive * (np.sin(cycle) + odd * np.sin(2 * cycle + 0.5)))) / 128
    wave = np.zeros(count)
    for k in range(1, 16):
        audible = np.clip((0.47 * SAMPLE_RATE_HZ - k * pitch) / 200.0, 0.0, 1.0)
        if abs(harmonics[k]) < 1e-3 or not audible.any():
            continue
        wave += audible * abs(harmonics[k]) * np.cos(k * phase + np.angle(harmonics[k]))
    return (wave / np.std(wave)).astype(np.float32)


def horn(count: int, rng: np.random.Generator) -> tuple[_Wave, list[tuple[float, float]]]:
    """Return a car horn with pauses, and when it sounds: (start, end) in seconds."""
    t = np.arange(count) / SAMPLE_RATE_HZ
    low = rng.uniform(320, 460)
    wave = np.zeros(count)
    for pitch in (low, low * rng.uniform(1.15, 1.28)):
        phase = 2 * np.pi * pitch * t + rng.uniform(0, 6)
        for k in range(1, 14):
            wave += np.sin(k * phase) / k ** rng.uniform(0.5, 1.0)
    gate, spans = np.zeros(count), []
    at, end = float(rng.uniform(0.0, 0.6)), count / SAMPLE_RATE_HZ
    while at < end - 0.05:
        stop = min(at + float(rng.uniform(0.15, 1.3)), end)
        gate[int(at * SAMPLE_RATE_HZ) : int(stop * SAMPLE_RATE_HZ)] = 1.0
        spans.append((at, stop))
        at = stop + float(rng.choice([rng.uniform(0.08, 0.3), rng.uniform(0.8, 3.0)]))
    ramp = np.convolve(gate, np.hanning(240) / np.hanning(240).sum(), mode="same")
    return (wave / np.std(wave) * ramp).astype(np.float32), spans


def engine(count: int, rng: np.random.Generator, *, speed_mps: float) -> _Wave:
    """Return an engine with the noise of its tyres."""
    t = np.arange(count) / SAMPLE_RATE_HZ
    firing_hz = rng.uniform(22, 34) + 2.2 * speed_mps
    wobble = 1 + 0.02 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(firing_hz * wobble) / SAMPLE_RATE_HZ
    wave = np.zeros(count)
    for k in range(1, 48):
        wave += rng.uniform(0.3, 1.0) / k**0.6 * np.sin(0.5 * k * phase + rng.uniform(0, 6))
    rumble = shaped_noise(rng, count, lambda f: 1.0 / (1.0 + (f / 180.0) ** 2))
    total = wave / np.std(wave) + 0.5 * rumble + 0.08 * speed_mps * tyres(count, rng)
    return (total / np.std(total)).astype(np.float32)


def tyres(count: int, rng: np.random.Generator) -> _Wave:
    """Return tyre and road noise: a broad hump near 800 Hz."""
    return shaped_noise(rng, count, lambda f: f / 800.0 * np.exp(1 - f / 800.0) + 0.02)


def speech(count: int, rng: np.random.Generator) -> _Wave:
    """Return speech-like babble: pitch pulses through moving formants, in syllables and pauses."""
    wave = np.zeros(count + SAMPLE_RATE_HZ)
    voice, at = rng.uniform(95, 230), 0
    while at < count:
        length = int(rng.uniform(0.09, 0.28) * SAMPLE_RATE_HZ)
        if rng.random() < 0.18:  # a consonant
            part = 0.4 * shaped_noise(rng, length, lambda f: np.exp(-(((f - 4500) / 2200) ** 2)))
        else:
            part = _vowel(length, voice * rng.uniform(0.85, 1.2), rng)
        wave[at : at + length] += part * np.hanning(length) * rng.uniform(0.4, 1.0)
        at += int(length * rng.uniform(0.7, 1.1))
        if rng.random() < 0.12:
            at += int(rng.uniform(0.15, 0.5) * SAMPLE_RATE_HZ)
    wave = wave[:count]
    return (wave / max(float(np.std(wave)), 1e-9)).astype(np.float32)


def _vowel(length: int, pitch_hz: float, rng: np.random.Generator) -> NDArray:
    t = np.arange(length) / SAMPLE_RATE_HZ
    formants = (rng.uniform(280, 850), rng.uniform(900, 2300), rng.uniform(2400, 3200))
    phase = 2 * np.pi * pitch_hz * (1 + 0.15 * rng.uniform(-1, 1) * t / max(t[-1], 1e-3)) * t
    wave = np.zeros(length)
    for k in range(1, int(4000 / pitch_hz)):
        f = k * pitch_hz
        gain = sum(np.exp(-(((f - c) / 110.0) ** 2)) / (i + 1) for i, c in enumerate(formants))
        wave += (gain + 0.03 / k) * np.sin(k * phase)
    return wave / max(float(np.std(wave)), 1e-9)


def street(count: int, rng: np.random.Generator) -> _Wave:
    """Return the noise of a street: low rumble that swells as traffic passes far away."""
    tilt = rng.uniform(0.7, 1.3)
    base = shaped_noise(rng, count, lambda f: 1.0 / np.maximum(f, 30.0) ** tilt)
    hiss = shaped_noise(rng, count, lambda f: f / 900.0 * np.exp(-f / 900.0))
    t = np.arange(count) / SAMPLE_RATE_HZ
    swell = 1 + 0.6 * np.sin(2 * np.pi * rng.uniform(0.05, 0.25) * t + rng.uniform(0, 6))
    total = base + rng.uniform(0.1, 0.5) * swell * hiss
    return (total / np.std(total)).astype(np.float32)


def rain(count: int, rng: np.random.Generator) -> _Wave:
    """Return rain on a roof: hiss and single drops."""
    hiss = shaped_noise(rng, count, lambda f: np.clip(f / 1500.0, 0.05, 1.0))
    drops = np.zeros(count)
    number = max(int(count / SAMPLE_RATE_HZ * rng.uniform(40, 200)), 1)
    drops[rng.integers(0, count, number)] = rng.exponential(1.0, number)
    n = np.arange(160)
    ring = np.exp(-n / 25.0) * np.sin(2 * np.pi * rng.uniform(700, 2500) * n / SAMPLE_RATE_HZ)
    total = hiss + 6.0 * np.convolve(drops, ring)[:count]
    return (total / np.std(total)).astype(np.float32)
