"""Synthetic street sounds at random. 16 kHz mono, full scale 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from edge_perception.simulation import sounds as simulator

RATE_HZ = 16_000
CLASSES = ("siren", "car_horn", "vehicle", "speech", "rain")
Wave = NDArray[np.float64]


def _time(samples: int) -> Wave:
    return np.arange(samples) / RATE_HZ


def normalised(wave: Wave) -> Wave:
    """Return the same with RMS 1."""
    return wave / (np.sqrt(np.mean(wave**2)) + 1e-9)


def presence(rng: np.random.Generator, samples: int, *, brief: bool) -> Wave:
    """Return an envelope that is on all the time or for a part."""
    envelope = np.ones(samples)
    if rng.random() < (0.6 if brief else 0.2):
        length = int(rng.uniform(0.05, 1.0) * samples)
        start = int(rng.uniform(-0.3, 1.0) * samples)
        envelope[:] = 0.0
        envelope[max(start, 0) : max(start + length, 0)] = 1.0
        ramp = int(rng.uniform(0.003, 0.03) * RATE_HZ)
        envelope = np.convolve(envelope, np.ones(ramp) / ramp, mode="same")
    return envelope


def active_s(wave: Wave) -> float:
    """Return for how long a sound is within 20 dB of its loudest 20 ms."""
    frames = wave[: len(wave) // 320 * 320].reshape(-1, 320)
    level = np.sqrt((frames**2).mean(axis=1))
    return float((level > 0.1 * level.max()).sum() * 0.02) if level.max() > 1e-4 else 0.0


def simulated(kind: int, rng: np.random.Generator, samples: int) -> Wave:
    """Return a cut of a sound of the simulator."""
    count = 3 * samples
    if kind == 0:
        wave = simulator.siren(str(rng.choice(["wail", "yelp", "hi_lo"])), count, rng)
    elif kind == 1:
        wave = simulator.horn(count, rng)[0]
    elif kind == 2:
        wave = simulator.engine(count, rng, speed_mps=float(rng.uniform(0, 20)))
    elif kind == 3:
        wave = simulator.speech(count, rng)
    else:
        wave = simulator.rain(count, rng)
    start = int(rng.integers(0, count - samples))
    return wave[start : start + samples].astype(np.float64)


def noise(rng: np.random.Generator, samples: int, slope: float) -> Wave:
    """Noise with a spectrum falling as f^-slope (power)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 20.0)
    return normalised(np.fft.irfft(spectrum * frequency ** (-slope / 2), samples))


def harmonics(rng: np.random.Generator, phase: Wave, count: int, fall: float) -> Wave:
    """Return a tone of a phase: partials of random strength that fall as k^-fall."""
    wave = np.zeros_like(phase)
    for k in range(1, count + 1):
        wave += k**-fall * rng.uniform(0.4, 1.3) * np.sin(k * phase + rng.uniform(0, 6.28))
    return wave


def siren(rng: np.random.Generator, samples: int) -> Wave:
    """Wail, yelp, hi-lo, phaser and rise."""
    t = _time(samples) + rng.uniform(0, 20)
    low, high = rng.uniform(400, 800), rng.uniform(1000, 1800)
    kind = rng.choice(["wail", "yelp", "hi_lo", "phaser", "rise"], p=(0.35, 0.25, 0.25, 0.1, 0.05))
    if kind == "hi_lo":
        low = rng.uniform(360, 700)
        high = low * rng.uniform(1.2, 1.5)
        up = np.sin(2 * np.pi * t * rng.uniform(0.4, 1.6)) > 0
        frequency = np.where(up, high, low)
    else:
        speed = {"wail": (0.08, 0.5), "yelp": (2, 5), "phaser": (8, 16), "rise": (0.05, 0.2)}[kind]
        swing = np.mod(t * rng.uniform(*speed), 1.0)
        top = rng.uniform(0.3, 0.9)
        saw = np.where(swing < top, swing / top, (1 - swing) / (1 - top))
        curve = 0.5 - 0.5 * np.cos(np.pi * saw) if rng.random() < 0.5 else saw
        frequency = low + (high - low) * curve
    frequency = frequency * rng.uniform(0.92, 1.08)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE_HZ
    if rng.random() < 0.5:
        wave = np.tanh(rng.uniform(0.5, 4) * np.sin(phase))
    else:
        wave = harmonics(rng, phase, int(rng.integers(1, 7)), rng.uniform(0.8, 2.5))
    return wave


def horn(rng: np.random.Generator, samples: int) -> Wave:
    """One or two tones of many partials, held."""
    t = _time(samples)
    base = rng.uniform(300, 520) if rng.random() < 0.8 else rng.uniform(130, 300)
    ratios = [1.0] if rng.random() < 0.08 else [1.0, rng.uniform(1.12, 1.35)]
    wave = np.zeros(samples)
    for ratio in ratios:
        bend = 1 + rng.normal(0, 0.002) * t
        phase = 2 * np.pi * np.cumsum(base * ratio * bend) / RATE_HZ
        wave += rng.uniform(0.5, 1) * harmonics(
            rng, phase, int(rng.integers(8, 18)), rng.uniform(0.1, 1.0)
        )
    if rng.random() < 0.7:
        centre = rng.uniform(900, 2800)
        sos = butter(1, [centre * 0.5, min(centre * 1.8, 7500)], "band", fs=RATE_HZ, output="sos")
        wave = normalised(wave) * 0.4 + normalised(sosfilt(sos, wave))
    if rng.random() < 0.25:  # several short honks
        wave *= np.sin(2 * np.pi * rng.uniform(1.5, 4) * t + rng.uniform(0, 6)) > -0.4
    return wave


def _call(rng: np.random.Generator, samples: int) -> Wave:
    """A shout: one to three long vowels whose pitch glides, as no horn's does."""
    wave = np.zeros(samples)
    base = rng.uniform(110, 550)
    at = int(rng.uniform(0, 0.6) * samples)
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.uniform(0.15, 0.7) * RATE_HZ)
        u = np.linspace(0, 1, length)
        bend = rng.uniform(-0.35, 0.35) * u + rng.uniform(-0.3, 0.3) * np.sin(np.pi * u)
        bend = bend * rng.uniform(0.15, 1.0)
        vibrato = 0.015 * np.sin(2 * np.pi * rng.uniform(4, 7) * u * length / RATE_HZ)
        phase = 2 * np.pi * np.cumsum(base * (1 + bend + vibrato)) / RATE_HZ
        vowel = np.zeros(length)
        formants = (rng.uniform(300, 900), rng.uniform(900, 2400), rng.uniform(2300, 3600))
        width, floor, tilt = rng.uniform(150, 700), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1.0)
        for k in range(1, int(7500 / base)):
            near = sum(np.exp(-(((k * base - f) / width) ** 2)) for f in formants)
            vowel += (near + floor / k**tilt) * np.sin(k * phase + rng.uniform(0, 6))
        rise, fall = rng.uniform(0.02, 0.2), rng.uniform(0.05, 0.4)
        vowel *= np.minimum(1, np.minimum(u / rise, (1 - u) / fall))
        end = min(at + length, samples)
        if end > at:
            wave[at:end] += normalised(vowel)[: end - at] * rng.uniform(0.5, 1)
        at += int(length * rng.uniform(0.9, 1.5))
        base *= rng.uniform(0.8, 1.25)
    return wave


def speech(rng: np.random.Generator, samples: int) -> Wave:
    """Shouts, or syllables of moving formants."""
    if rng.random() < 0.55:
        return _call(rng, samples)
    t = _time(samples)
    f0 = rng.uniform(85, 280)
    wander = np.cumsum(noise(rng, samples, 2)) / RATE_HZ
    pitch = f0 * (
        1 + 0.25 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t + rng.uniform(0, 6)) + wander
    )
    phase = np.cumsum(np.clip(pitch, 60, 500)) / RATE_HZ
    source = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(samples)
    pieces, start = np.zeros(samples), 0
    while start < samples:
        length = int(rng.uniform(0.05, 0.25) * RATE_HZ)
        part = slice(start, min(start + length, samples))
        if rng.random() < 0.65:
            piece = source[part]
            for low, high in ((250, 900), (800, 2400), (2200, 3400)):
                piece = _resonate(piece, rng.uniform(low, high), rng.uniform(60, 160))
        elif rng.random() < 0.6:
            piece = np.diff(rng.standard_normal(part.stop - part.start + 1)) * 0.3
        else:
            piece = np.zeros(part.stop - part.start)
        window = np.hanning(len(piece) + 2)[1:-1] ** 0.4
        pieces[part] = normalised(piece) * window * rng.uniform(0.3, 1) if piece.any() else 0
        start += length
    return pieces


def _resonate(wave: Wave, frequency: float, width: float) -> Wave:
    r = np.exp(-np.pi * width / RATE_HZ)
    a = [1.0, -2 * r * np.cos(2 * np.pi * frequency / RATE_HZ), r * r]
    return lfilter([1 - r], a, wave) + 0.2 * wave


def engine(rng: np.random.Generator, samples: int) -> Wave:
    """Firing, rumble and tyres."""
    t = _time(samples)
    f0 = rng.uniform(18, 90) * (1 + rng.uniform(-0.3, 0.3) * t)
    phase = 2 * np.pi * np.cumsum(f0) / RATE_HZ
    wave = normalised(harmonics(rng, phase, 24, rng.uniform(0.2, 1.0)))
    rumble = noise(rng, samples, rng.uniform(1, 2)) * (1 + 0.7 * np.sin(phase))
    tyres = noise(rng, samples, rng.uniform(0.3, 1.2))
    return wave * rng.uniform(0.3, 1) + rumble * rng.uniform(0.3, 1) + tyres * rng.uniform(0, 0.5)


def rain(rng: np.random.Generator, samples: int) -> Wave:
    """Hiss and drops."""
    wave = noise(rng, samples, rng.uniform(-0.4, 0.5))
    drops = np.zeros(samples)
    count = int(rng.uniform(20, 600))
    drops[rng.integers(0, samples, count)] = rng.exponential(1.0, count)
    decay = np.exp(-np.arange(200) / rng.uniform(5, 60)) * rng.standard_normal(200)
    return wave * rng.uniform(0.3, 1) + normalised(fftconvolve(drops, decay)[:samples])


def background(rng: np.random.Generator, samples: int) -> Wave:
    """Noise of a street."""
    wave = noise(rng, samples, rng.uniform(0.3, 2.2))
    if rng.random() < 0.5:
        swell = 1 + 0.8 * np.sin(
            2 * np.pi * rng.uniform(0.2, 3) * _time(samples) + rng.uniform(0, 6)
        )
        wave = wave * swell + 0.5 * noise(rng, samples, rng.uniform(0, 2))
    return wave


def chord(rng: np.random.Generator, samples: int) -> Wave:
    """Notes as of music: pitched and steady, but struck and dying away."""
    t = _time(samples)
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(1, 8))):
        start = rng.uniform(-0.3, 0.9)
        phase = 2 * np.pi * 55 * 2 ** (rng.integers(0, 52) / 12) * t
        fade = np.where(t > start, np.exp(-(t - start) * rng.uniform(1.5, 8)), 0)
        wave += fade * harmonics(rng, phase, 5, 1.5)
    return wave


def chirps(rng: np.random.Generator, samples: int) -> Wave:
    """Birds and brakes: short sweeps above 2 kHz."""
    t = _time(samples)
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(1, 6))):
        start, length = rng.uniform(0, 0.9), rng.uniform(0.02, 0.2)
        f = rng.uniform(2000, 5500) + rng.uniform(-8000, 8000) * (t - start)
        on = (t > start) & (t < start + length)
        wave += on * np.sin(2 * np.pi * np.cumsum(f) / RATE_HZ)
    return wave


def beeps(rng: np.random.Generator, samples: int) -> Wave:
    """One tone, on and off."""
    t = _time(samples) + rng.uniform(0, 1)
    on = np.mod(t * rng.uniform(0.8, 4), 1) < 0.5
    return on * np.sin(2 * np.pi * rng.uniform(900, 3200) * t)


def knocks(rng: np.random.Generator, samples: int) -> Wave:
    """Steps, doors, rails: rhythmic short bursts."""
    hits = np.zeros(samples)
    period = int(rng.uniform(0.05, 0.5) * RATE_HZ)
    hits[int(rng.integers(0, period)) :: period] = 1
    length = 1600
    burst = rng.standard_normal(length) * np.exp(-np.arange(length) / rng.uniform(50, 500))
    return fftconvolve(hits, lfilter([1], [1, -rng.uniform(0, 0.95)], burst))[:samples]


def squeal(rng: np.random.Generator, samples: int) -> Wave:
    """A high tone that trembles."""
    t = _time(samples)
    f = rng.uniform(1800, 5000) * (1 + 0.02 * np.cumsum(noise(rng, samples, 2)) / 1000)
    return np.sin(2 * np.pi * np.cumsum(f) / RATE_HZ) * (1 + 0.5 * np.sin(40 * t))


def reverberate(rng: np.random.Generator, wave: Wave) -> Wave:
    """Return the same in some room."""
    length = int(rng.uniform(0.05, 0.5) * RATE_HZ)
    tail = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    tail[0] = rng.uniform(3, 20)
    return fftconvolve(wave, tail)[: len(wave)] / np.sqrt((tail**2).sum())


def several_microphones(rng: np.random.Generator, wave: Wave) -> Wave:
    """Return the mean of microphones up to 20 cm apart, as the runtime listens to an array."""
    delays = rng.integers(0, 10, int(rng.integers(2, 5)))
    return np.mean([np.roll(wave, int(delay)) for delay in delays], axis=0)


def coloured(rng: np.random.Generator, wave: Wave) -> Wave:
    """The response of some microphone and of the way there."""
    spectrum = np.fft.rfft(wave)
    knots = np.cumsum(rng.normal(0, 2.5, 8))
    gain = np.interp(np.linspace(0, 7, len(spectrum)), np.arange(8), knots - knots.mean())
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(wave))
