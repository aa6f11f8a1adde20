"""Machines, wind, water and things that squeak or break."""

from __future__ import annotations

import numpy as np

from training.hard_parts import arc, band, curve, row, seconds, voiced
from training.sounds import RATE_HZ, Wave, noise, normalised


def saw(rng: np.random.Generator, samples: int) -> Wave:
    """Drills, grinders, circular saws, mixers: a whine that sags under load."""
    base, rough = rng.uniform(180, 3000), rng.uniform(0.2, 2.0)

    def one() -> Wave:
        length = seconds(rng.uniform(0.5, 4.0))
        knots = [base * rng.uniform(0.4, 0.9), base, base * rng.uniform(0.8, 1), base,
                 base * rng.uniform(0.5, 0.95)]  # fmt: skip
        wave = voiced(rng, curve(rng, length, knots, 0.02), partials=15, fall=rng.uniform(0.0, 1.3),
                      breath=rough)  # fmt: skip
        shake = 1 + rng.uniform(0, 0.5) * np.sin(
            2 * np.pi * rng.uniform(20, 120) * np.arange(length) / RATE_HZ
        )
        return wave * shake * arc(length, 0.05, 0.05)

    return row(rng, samples, one, (0.05, 1.0))


def vacuum(rng: np.random.Generator, samples: int) -> Wave:
    """Vacuum cleaners, fans, compressors, hand dryers: hiss with steady tones in it."""
    pitch = curve(rng, samples, list(rng.uniform(150, 2500) * rng.uniform(0.97, 1.03, 3)), 0.005)
    return voiced(rng, pitch, partials=6, fall=rng.uniform(0.3, 1.5), breath=rng.uniform(0.4, 3))


def traction_motor(rng: np.random.Generator, samples: int) -> Wave:
    """A tram, an electric car, a gearbox, a lift: tones that rise or fall slowly, and together.

    Slower than any siren; in steps, where an inverter changes its pulses.
    """
    start = rng.uniform(120, 2200)
    rate = rng.uniform(-0.14, 0.14)  # share of the pitch a second
    t = np.arange(samples) / RATE_HZ
    pitch = start * np.exp(rate * t)
    if rng.random() < 0.3:
        pitch = pitch * 2 ** (np.floor(t * rng.uniform(0.5, 2)) * rng.integers(1, 4) / 12)
    wave = voiced(rng, np.clip(pitch, 80, 5000), partials=int(rng.integers(1, 8)),
                  fall=rng.uniform(0.3, 2), breath=rng.uniform(0.1, 1.5))  # fmt: skip
    other = voiced(rng, np.clip(pitch * rng.uniform(1.3, 2.8), 80, 6000), partials=2, fall=1.0)
    return wave + rng.uniform(0, 0.8) * other


def chainsaw(rng: np.random.Generator, samples: int) -> Wave:
    """Chainsaws, mopeds, lawn mowers, model aircraft: buzz that revs."""
    base = rng.uniform(50, 320)
    knots = list(base * rng.uniform(0.6, 1.6, int(rng.integers(2, 6))))
    return voiced(rng, curve(rng, samples, knots, 0.05), partials=40, fall=rng.uniform(0, 0.9),
                  breath=rng.uniform(0.1, 1.0))  # fmt: skip


def aircraft(rng: np.random.Generator, samples: int) -> Wave:
    """A jet or a propeller that passes: roar, and a tone that falls slowly."""
    high = rng.uniform(150, 2600)
    pitch = curve(rng, samples, [high, high * rng.uniform(0.85, 1.0)], 0.003)
    tone = voiced(rng, pitch, partials=8, fall=1.0, breath=0.3)
    return rng.uniform(0.1, 0.8) * tone + noise(rng, samples, rng.uniform(0.5, 2))


def squeak(rng: np.random.Generator, samples: int) -> Wave:
    """Doors, brakes, swings, tyres: tones that jump and rasp."""
    base = rng.uniform(350, 4500)

    def one() -> Wave:
        length = seconds(rng.uniform(0.1, 1.3))
        knots = list(base * rng.uniform(0.7, 1.4, int(rng.integers(2, 6))))
        wave = voiced(rng, curve(rng, length, knots, 0.15), partials=10, fall=rng.uniform(0.3, 1.8),
                      breath=rng.uniform(0.02, 0.4))  # fmt: skip
        rasp = np.clip(1 + rng.uniform(0, 1.5) * noise(rng, length, 2.0), 0, 3)
        return wave * rasp * arc(length, 0.1, 0.2)

    return row(rng, samples, one, (0.05, 0.8))


def wind(rng: np.random.Generator, samples: int) -> Wave:
    """Wind that howls about a mirror or a mast: narrow hiss that wanders."""
    centre = rng.uniform(250, 1400)
    t = np.arange(samples) / RATE_HZ
    drift = curve(rng, samples, list(centre * rng.uniform(0.8, 1.25, 4)), 0.02)
    slow = noise(rng, samples, 2.0)
    for _ in range(int(rng.integers(1, 3))):
        slow = band(rng, slow, 80.0)
    carrier = np.sin(2 * np.pi * np.cumsum(drift * (1 + 0.05 * normalised(slow))) / RATE_HZ)
    gust = 1 + 0.7 * np.sin(2 * np.pi * rng.uniform(0.1, 0.7) * t + rng.uniform(0, 6))
    return carrier * gust + rng.uniform(0.3, 2) * noise(rng, samples, rng.uniform(0.5, 2))


def water(rng: np.random.Generator, samples: int) -> Wave:
    """Water that is poured, and drops: hiss and bubbles whose pitch rises."""

    def one() -> Wave:
        length = seconds(rng.uniform(0.01, 0.08))
        low = rng.uniform(400, 2500)
        wave = voiced(rng, np.linspace(low, low * rng.uniform(1.1, 1.8), length), partials=1)
        return wave * np.exp(-np.linspace(0, 5, length))

    drops = row(rng, samples, one, (0.0, rng.uniform(0.01, 0.3)))
    return drops + rng.uniform(0, 0.6) * band(rng, noise(rng, samples, 0.3), rng.uniform(900, 4000))


def breaking(rng: np.random.Generator, samples: int) -> Wave:
    """Glass, cans, keys, cutlery: many short bright strokes at random."""
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(3, 40))):
        length = seconds(rng.uniform(0.01, 0.25))
        at = int(rng.uniform(0, max(samples - length, 1)))
        t = np.arange(length) / RATE_HZ
        tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(1200, 7500, 3))
        wave[at : at + length] += rng.exponential(1.0) * tones * np.exp(-t * rng.uniform(15, 120))
    return wave


def rail(rng: np.random.Generator, samples: int) -> Wave:
    """A tram or train that starts, runs or stops: tones of its drive, wheels, a squeal in curves.

    Each tone follows the speed as it likes, so that they do not rise together as a siren's do.
    """
    t = np.arange(samples) / RATE_HZ
    speed = np.clip(rng.uniform(0.2, 1.0) + rng.uniform(-0.3, 0.3) * t, 0.05, 1.6)
    wave = rng.uniform(0.2, 1.2) * noise(rng, samples, rng.uniform(0.6, 2.0)) * speed
    for _ in range(int(rng.integers(1, 5))):
        top, follows = rng.uniform(200, 3000), rng.uniform(0.0, 1.0)
        pitch = top * (1 - follows + follows * speed)
        if rng.random() < 0.3:  # an inverter that changes its pulses
            pitch = pitch * 2 ** (-np.floor(speed * rng.uniform(2, 6)) / 3)
        tone = voiced(rng, np.clip(pitch, 60, 6000), partials=int(rng.integers(1, 12)),
                      fall=rng.uniform(0.2, 2.0), breath=rng.uniform(0.05, 0.6))  # fmt: skip
        wave = wave + rng.uniform(0.1, 1.0) * tone
    if rng.random() < 0.3:
        wave = wave + rng.uniform(0.1, 1.0) * squeak(rng, samples)
    return wave


def whine(rng: np.random.Generator, samples: int) -> Wave:
    """Power tools, mixers, scooters, blowers that run up, hold and run down, rough with teeth."""
    base, rise_s = rng.uniform(150, 2800), rng.uniform(0.15, 2.0)
    rough, teeth = rng.uniform(0.1, 1.5), rng.uniform(0, 0.8)

    def one() -> Wave:
        up, down = seconds(rise_s), seconds(rise_s * rng.uniform(0.5, 3))
        held = seconds(rng.uniform(0.1, 3.0))
        sag = (
            1 - rng.uniform(0, 0.4) * np.sin(np.pi * np.linspace(0, rng.integers(1, 4), held)) ** 2
        )
        pitch = base * np.concatenate([
            1 - np.exp(-np.linspace(0, 4, up)), sag, np.exp(-np.linspace(0, 3, down)),
        ])  # fmt: skip
        wave = voiced(rng, np.clip(pitch, 40, 6000), partials=int(rng.integers(4, 30)),
                      fall=rng.uniform(0.0, 1.4), breath=rough)  # fmt: skip
        turn = 2 * np.pi * np.cumsum(pitch) / RATE_HZ / rng.integers(2, 12)
        return wave * (1 + teeth * np.sin(turn)) * arc(len(wave), 0.05, 0.1)

    return row(rng, samples, one, (0.05, 1.0))
