"""Bells, telephones, alarms, whistles and music."""

from __future__ import annotations

import numpy as np

from training.hard_parts import arc, curve, row, seconds, stroke, voiced
from training.sounds import RATE_HZ, Wave, noise, normalised

_CHURCH = [0.5, 1.0, 1.19, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.3]
_BAR = [1.0, 2.76, 5.40, 8.93]


def _time(samples: int) -> Wave:
    return np.arange(samples) / RATE_HZ


def human_whistle(rng: np.random.Generator, samples: int) -> Wave:
    """Somebody who whistles a tune, or for a dog: notes with short slides, and breath."""
    note = rng.uniform(700, 2200)

    def one() -> Wave:
        nonlocal note
        before = note
        note = float(np.clip(note * 2 ** (rng.choice([-5, -3, -2, 2, 3, 4, 7]) / 12), 600, 3200))
        length = seconds(rng.uniform(0.1, 0.7))
        slide = min(length, seconds(rng.uniform(0.01, 0.12)))
        pitch = np.full(length, note)
        pitch[:slide] = np.linspace(before, note, slide)
        beat = np.sin(2 * np.pi * rng.uniform(4, 7) * _time(length))
        wave = voiced(rng, pitch * (1 + rng.uniform(0, 0.015) * beat), partials=2, fall=3.0,
                      breath=rng.uniform(0.02, 0.2))  # fmt: skip
        return wave * arc(length, 0.1, 0.15)

    return row(rng, samples, one, (0.0, rng.uniform(0.02, 0.4)))


def pea_whistle(rng: np.random.Generator, samples: int) -> Wave:
    """A referee's whistle: two high tones that beat, and the pea in it."""
    base = rng.uniform(1900, 4200)

    def one() -> Wave:
        length = seconds(rng.uniform(0.1, 1.5))
        t = _time(length)
        rattle = 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * rng.uniform(15, 70) * t)
        wave = sum(np.sin(2 * np.pi * base * ratio * t) for ratio in (1.0, rng.uniform(1.02, 1.2)))
        wave = wave * rattle + rng.uniform(0.05, 0.6) * noise(rng, length, 0.0)
        return wave * arc(length, 0.04, 0.06)

    return row(rng, samples, one, (0.05, 1.0))


def steam(rng: np.random.Generator, samples: int) -> Wave:
    """A kettle, a valve: hiss with a tone that hardly moves."""
    base = rng.uniform(900, 4500)
    pitch = curve(rng, samples, [base, base * rng.uniform(1.0, 1.15)], 0.01)
    wave = voiced(rng, pitch, partials=3, fall=1.5, breath=rng.uniform(0.2, 2.0))
    return wave * np.linspace(rng.uniform(0.2, 1), 1, samples)


def church_bell(rng: np.random.Generator, samples: int) -> Wave:
    """One bell or several, struck again and again."""
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(1, 4))):
        base, decay = rng.uniform(150, 1300), rng.uniform(0.5, 5.0)
        length = seconds(rng.uniform(0.8, 2.5))

        def one(base: float = base, decay: float = decay, length: int = length) -> Wave:
            return stroke(rng, length, base, _CHURCH, decay)

        wave += rng.uniform(0.3, 1) * row(rng, samples, one, (0.0, 0.2))
    return wave


def small_bell(rng: np.random.Generator, samples: int) -> Wave:
    """Bicycle bells, door bells, glockenspiels."""
    base = rng.uniform(700, 3500)
    quick, decay = rng.random() < 0.5, rng.uniform(0.15, 1.5)

    def one() -> Wave:
        length = seconds(rng.uniform(0.05, 0.12) if quick else rng.uniform(0.2, 1.0))
        pitch = base if quick else base * float(rng.choice([1.0, 0.8, 0.749, 1.26]))
        return stroke(rng, length, pitch, _BAR, decay)

    return row(rng, samples, one, (0.0, 0.05 if quick else 0.6))


def crossing_bell(rng: np.random.Generator, samples: int) -> Wave:
    """Trams, level crossings, fire bells: one gong, struck at an even beat."""
    base, length = rng.uniform(500, 2600), seconds(1 / rng.uniform(1.5, 14))
    decay = rng.uniform(0.1, 1.0)
    return row(rng, samples, lambda: stroke(rng, length, base, _CHURCH[1:], decay), (0.0, 0.001))


def bell_telephone(rng: np.random.Generator, samples: int) -> Wave:
    """Two gongs and a clapper, in bursts."""
    high, low = rng.uniform(900, 2600), rng.uniform(0.75, 0.95)
    rate_hz = rng.uniform(15, 32)

    def one() -> Wave:
        length = seconds(rng.uniform(0.4, 2.0))
        wave = np.zeros(length)
        hit = seconds(0.12)
        for k, at in enumerate(range(0, length - hit, int(RATE_HZ / rate_hz))):
            pitch = high * (low if k % 2 else 1.0)
            wave[at : at + hit] += stroke(rng, hit, pitch, _BAR[:3], 0.2)
        return wave

    return row(rng, samples, one, (0.2, 3.0))


def tone_telephone(rng: np.random.Generator, samples: int) -> Wave:
    """An electronic ringer: two or three tones that take turns many times a second."""
    tones = rng.uniform(550, 2600) * np.array([1.0, rng.uniform(1.1, 1.6), rng.uniform(0.8, 1.7)])
    tones = tones[: int(rng.integers(2, 4))]
    rate_hz, hard = rng.uniform(9, 35), rng.uniform(0.5, 5)

    def one() -> Wave:
        length = seconds(rng.uniform(0.3, 2.0))
        t = _time(length)
        which = (t * rate_hz).astype(int) % len(tones)
        wave = np.tanh(hard * np.sin(2 * np.pi * np.cumsum(tones[which]) / RATE_HZ))
        return wave * arc(length, 0.01, 0.02)

    return row(rng, samples, one, (0.15, 3.0))


def ring_tone(rng: np.random.Generator, samples: int) -> Wave:
    """A tune of electronic notes, as of a mobile telephone or an ice-cream van."""
    base = rng.uniform(400, 1500)
    tune = rng.integers(-7, 13, int(rng.integers(4, 12)))
    beat_s, hard = rng.uniform(0.07, 0.35), rng.uniform(0.3, 4)
    at = 0

    def one() -> Wave:
        nonlocal at
        at += 1
        length = seconds(beat_s * float(rng.choice([1, 1, 1, 2])))
        pitch = base * 2 ** (tune[at % len(tune)] / 12)
        wave = np.tanh(hard * np.sin(2 * np.pi * pitch * _time(length)))
        return wave * np.exp(-_time(length) * rng.uniform(0, 8)) * arc(length, 0.02, 0.1)

    return row(rng, samples, one, (0.0, rng.uniform(0.001, 0.1)))


def beeper(rng: np.random.Generator, samples: int) -> Wave:
    """Alarm clocks, smoke detectors, tills: groups of beeps of one pitch."""
    pitch, group = rng.uniform(700, 4200), int(rng.integers(1, 6))
    on, off, rest = rng.uniform(0.03, 0.6), rng.uniform(0.03, 0.5), rng.uniform(0.0, 1.5)
    hard = rng.uniform(0.3, 5)
    at = 0

    def one() -> Wave:
        nonlocal at
        at += 1
        length = seconds(on)
        wave = np.tanh(hard * np.sin(2 * np.pi * pitch * _time(length))) * arc(length, 0.03, 0.03)
        pause = off + (rest if at % group == 0 else 0.0)
        return np.concatenate([wave, np.zeros(seconds(pause))])

    return row(rng, samples, one, (0.0, 0.001))


def reversing_beeper(rng: np.random.Generator, samples: int) -> Wave:
    """A lorry that reverses: tones or hiss, on and off evenly."""
    pitch, length = rng.uniform(600, 2900), seconds(rng.uniform(0.2, 0.9))
    hissing, hard = rng.random() < 0.2, rng.uniform(0.3, 5)

    def one() -> Wave:
        tone = np.tanh(hard * np.sin(2 * np.pi * pitch * _time(length)))
        wave = noise(rng, length, 0.0) if hissing else tone
        return np.concatenate([wave * arc(length, 0.03, 0.03), np.zeros(length)])

    return row(rng, samples, one, (0.0, 0.001))


def chime(rng: np.random.Generator, samples: int) -> Wave:
    """Chimes of stations, lifts, seat belts and doors: two to four soft notes, then a pause."""
    base, notes = rng.uniform(300, 1400), int(rng.integers(1, 5))
    tune = rng.choice([1.0, 0.8, 0.667, 1.25, 1.5, 0.75, 1.335], notes)
    length = seconds(rng.uniform(0.25, 0.9))

    def one() -> Wave:
        t = _time(length)
        fade = np.exp(-t * rng.uniform(1, 6)) * arc(length, 0.01, 0.1)
        parts = [
            fade * (np.sin(2 * np.pi * base * r * t) + 0.3 * np.sin(4 * np.pi * base * r * t))
            for r in tune
        ]
        return np.concatenate(parts)

    return row(rng, samples, one, (0.1, 2.5))


def _notes(
    rng: np.random.Generator, samples: int, low_hz: float, high_hz: float, **timbre: float
) -> Wave:
    """Return a melody with vibrato; most notes are near the one before."""
    note = rng.uniform(low_hz, high_hz)
    beat_s, legato = rng.uniform(0.1, 0.9), rng.random() < 0.6

    def one() -> Wave:
        nonlocal note
        before = note
        step = rng.choice([-7, -5, -4, -2, -1, 1, 2, 4, 5, 7]) / 12
        note = float(np.clip(note * 2**step, low_hz, high_hz))
        length = seconds(beat_s * float(rng.choice([0.5, 1, 1, 2])))
        pitch = np.full(length, note)
        if legato:
            slide = min(length, seconds(rng.uniform(0.01, 0.08)))
            pitch[:slide] = np.linspace(before, note, slide)
        t = _time(length)
        pitch = pitch * (1 + rng.uniform(0, 0.02) * np.sin(2 * np.pi * rng.uniform(4, 8) * t))
        wave = voiced(rng, pitch, partials=int(timbre["partials"]), fall=timbre["fall"],
                      breath=timbre["breath"], formants=int(timbre["formants"]))  # fmt: skip
        return wave * arc(length, timbre["rise"], 0.1)

    return row(rng, samples, one, (0.0, 0.001 if legato else rng.uniform(0.005, 0.2)))


def bowed(rng: np.random.Generator, samples: int) -> Wave:
    """Violin, cello, and whatever else is bowed."""
    low = rng.uniform(130, 500)
    return _notes(rng, samples, low, low * rng.uniform(3, 7), partials=16,
                  fall=rng.uniform(0.5, 1.4), breath=rng.uniform(0.01, 0.1), formants=2,
                  rise=rng.uniform(0.05, 0.3))  # fmt: skip


def flute(rng: np.random.Generator, samples: int) -> Wave:
    """Flutes, recorders, ocarinas, theremins that keep to notes."""
    low = rng.uniform(260, 800)
    return _notes(rng, samples, low, low * rng.uniform(2, 4), partials=4, fall=rng.uniform(1.2, 3),
                  breath=rng.uniform(0.02, 0.25), formants=0, rise=0.1)  # fmt: skip


def brass(rng: np.random.Generator, samples: int) -> Wave:
    """Trumpets, saxophones, bagpipes."""
    low = rng.uniform(120, 450)
    return _notes(rng, samples, low, low * rng.uniform(2, 4), partials=20, fall=rng.uniform(0.2, 1),
                  breath=rng.uniform(0.01, 0.1), formants=1, rise=0.08)  # fmt: skip


def organ(rng: np.random.Generator, samples: int) -> Wave:
    """Organs, accordions, harmonicas: chords."""
    root, length_s = rng.uniform(100, 500), rng.uniform(0.3, 1.6)

    def one() -> Wave:
        nonlocal root
        root = float(np.clip(root * 2 ** (rng.integers(-7, 8) / 12), 90, 700))
        length = seconds(length_s)
        chord = rng.choice([1.0, 1.189, 1.26, 1.498, 2.0, 2.52], int(rng.integers(2, 5)))
        tones = [voiced(rng, np.full(length, root * r), partials=8, fall=rng.uniform(0.5, 1.5),
                        breath=0.01) for r in chord]  # fmt: skip
        return normalised(np.sum(tones, axis=0)) * arc(length, 0.03, 0.05)

    return row(rng, samples, one, (0.0, 0.1))


def plucked(rng: np.random.Generator, samples: int) -> Wave:
    """Guitars, pianos, harps, music boxes."""
    root, decay = rng.uniform(110, 900), rng.uniform(0.15, 1.5)
    ratios = [k * (1 + 0.0004 * k * k) for k in range(1, 10)]

    def one() -> Wave:
        pitch = root * 2 ** (rng.integers(-5, 20) / 12)
        return stroke(rng, seconds(rng.uniform(0.1, 0.7)), pitch, ratios, decay)

    return sum(row(rng, samples, one, (0.0, 0.15)) for _ in range(int(rng.integers(1, 4))))
