"""Music of any instrument: tunes on a scale, by bow, pipe, reed or chip, alone or together.

A window of a slow tune holds one note or two, as one of a two-tone siren does: only timbre, onset
and vibrato tell them apart. So all of them are drawn widely, and no instrument is one recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from training.hard_parts import arc, row, seconds
from training.sounds import RATE_HZ, Wave, harmonics, noise, normalised

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10),
           (0, 2, 3, 5, 7, 8, 11), tuple(range(12)))  # fmt: skip
_NYQUIST_HZ = 7600.0

Timbre = Callable[[Wave], Wave]


@dataclass(frozen=True, kw_only=True)
class Hand:
    """How notes are played."""

    vibrato: float  # share of the pitch
    vibrato_hz: float
    vibrato_after_s: float
    slide_s: float
    rise_s: float
    fall: float  # 1/s, 0: held
    release_s: float


def additive(rng: np.random.Generator) -> Timbre:
    """Partials that fall, with gaps for pipes that are closed."""
    fall, breath = rng.uniform(0.0, 2.5), rng.uniform(0.0, 0.15)
    count, odd = int(rng.integers(2, 40)), rng.random() < 0.2

    def make(phase: Wave) -> Wave:
        top = _top_hz(phase)
        most = max(1, min(count, int(_NYQUIST_HZ / top)))
        wave = harmonics(rng, phase, most, fall)
        if odd:
            wave = wave - 0.5 * harmonics(rng, 2 * phase, max(most // 2, 1), fall)
        return normalised(wave) + breath * noise(rng, len(phase), rng.uniform(0, 1))

    return make


def chip(rng: np.random.Generator) -> Timbre:
    """Pulses, triangles and saws of toys, games, doorbells and synthesisers."""
    kind, duty = (
        rng.choice(["pulse", "triangle", "saw"], p=(0.6, 0.15, 0.25)),
        rng.uniform(0.1, 0.5),
    )
    dull_hz = rng.uniform(1500, 7500)

    def make(phase: Wave) -> Wave:
        most = max(1, int(_NYQUIST_HZ / _top_hz(phase)))
        k = np.arange(1, min(most, 30) + 1)
        strengths = {
            "pulse": np.sin(np.pi * k * duty) / k,
            "triangle": np.where(k % 2, 1.0 / k**2, 0.0),
            "saw": 1.0 / k,
        }[str(kind)]
        wave = sum(a * np.sin(n * phase) for n, a in zip(k, strengths, strict=True))
        sos = butter(1, dull_hz, fs=RATE_HZ, output="sos")
        return normalised(np.asarray(sosfilt(sos, wave)))

    return make


def modulated(rng: np.random.Generator) -> Timbre:
    """Frequency modulation: electric pianos, bells, brass of keyboards."""
    ratio, depth = float(rng.choice([0.5, 1.0, 1.0, 2.0, 3.0, 1.41])), rng.uniform(0.2, 3.0)
    return lambda phase: np.sin(phase + depth * np.sin(ratio * phase))


def bodied(rng: np.random.Generator, timbre: Timbre) -> Timbre:
    """Return a timbre through the resonances of a wooden body."""
    filters = [
        butter(1, [f * 0.85, min(f * 1.2, 7800)], "band", fs=RATE_HZ, output="sos")
        for f in rng.uniform(250, 4500, int(rng.integers(2, 6)))
    ]
    direct = rng.uniform(0.1, 0.8)

    def make(phase: Wave) -> Wave:
        wave = timbre(phase)
        return normalised(direct * wave + sum(normalised(sosfilt(sos, wave)) for sos in filters))

    return make


def _top_hz(phase: Wave) -> float:
    return max(float(np.diff(phase).max()) * RATE_HZ / (2 * np.pi), 20.0)


def _hand(rng: np.random.Generator, *, bowed: bool) -> Hand:
    trembling = rng.random() < (0.75 if bowed else 0.35)
    return Hand(
        vibrato=rng.uniform(0.003, 0.035) if trembling else 0.0,
        vibrato_hz=rng.uniform(3.5, 8.5),
        vibrato_after_s=rng.uniform(0, 0.3),
        slide_s=rng.uniform(0.01, 0.25) if rng.random() < (0.5 if bowed else 0.15) else 0.0,
        rise_s=rng.uniform(0.02, 0.25) if bowed else rng.uniform(0.002, 0.05),
        fall=0.0 if bowed or rng.random() < 0.5 else rng.uniform(0.5, 10.0),
        release_s=rng.uniform(0.01, 0.15),
    )


def _note(hand: Hand, timbre: Timbre, pitch_hz: float, before_hz: float, length: int) -> Wave:
    t = np.arange(length) / RATE_HZ
    pitch = np.full(length, pitch_hz)
    slide = min(length, int(hand.slide_s * RATE_HZ))
    if slide:
        pitch[:slide] = np.geomspace(before_hz, pitch_hz, slide)
    deep = np.clip((t - hand.vibrato_after_s) * 5, 0, 1)
    pitch = pitch * (1 + hand.vibrato * deep * np.sin(2 * np.pi * hand.vibrato_hz * t))
    wave = timbre(2 * np.pi * np.cumsum(np.clip(pitch, 30, _NYQUIST_HZ)) / RATE_HZ)
    whole_s = length / RATE_HZ
    return wave * np.exp(-hand.fall * t) * arc(length, hand.rise_s / whole_s,
                                               hand.release_s / whole_s)  # fmt: skip


def melody(
    rng: np.random.Generator, samples: int, timbre: Timbre, *, bowed: bool, lowest_hz: float = 0.0
) -> Wave:
    """Return a tune: degrees of a scale, most of them near the one before, in some rhythm."""
    root = lowest_hz or float(np.exp(rng.uniform(np.log(110), np.log(1100))))
    scale, degrees = _SCALES[int(rng.integers(len(_SCALES)))], int(rng.integers(5, 16))
    beat_s = float(np.exp(rng.uniform(np.log(0.07), np.log(1.2))))
    hand, double = _hand(rng, bowed=bowed), rng.random() < 0.15
    leap = rng.uniform(0.8, 3.5)
    at, pitch = int(rng.integers(degrees)), root

    def one() -> Wave:
        nonlocal at, pitch
        before = pitch
        at = int(np.clip(at + round(rng.normal(0, leap)), 0, degrees - 1))
        octave, place = divmod(at, len(scale))
        pitch = min(root * 2 ** (octave + scale[place] / 12), 3800.0)
        length = seconds(beat_s * float(rng.choice([0.5, 1, 1, 1, 1.5, 2])))
        wave = _note(hand, timbre, pitch, before, length)
        if double:
            other = pitch * float(rng.choice([1.26, 1.335, 1.498, 2.0]))
            wave = wave + rng.uniform(0.3, 1) * _note(hand, timbre, other, other, length)
        return wave

    gap_s = 0.001 if rng.random() < 0.6 else rng.uniform(0.01, 0.3)
    return row(rng, samples, one, (0.0, gap_s))


def strings(rng: np.random.Generator, samples: int) -> Wave:
    """Violin to double bass: held notes with vibrato, slides and two strings at once."""
    return melody(rng, samples, bodied(rng, additive(rng) if rng.random() < 0.6 else _saw(rng)),
                  bowed=True)  # fmt: skip


def _saw(rng: np.random.Generator) -> Timbre:
    """A string that sticks and slips."""
    dull, breath = rng.uniform(0.7, 1.6), rng.uniform(0.0, 0.1)

    def make(phase: Wave) -> Wave:
        k = np.arange(1, max(1, min(40, int(_NYQUIST_HZ / _top_hz(phase)))) + 1)
        wave = sum(np.sin(n * phase) / n**dull for n in k)
        return normalised(wave) + breath * noise(rng, len(phase), 0.5)

    return make


def game_tune(rng: np.random.Generator, samples: int) -> Wave:
    """Tunes of chips: toys, games, doorbells, ring tones; often two voices and broken chords."""
    wave = melody(rng, samples, chip(rng), bowed=False)
    if rng.random() < 0.5:
        wave = wave + rng.uniform(0.2, 0.9) * melody(rng, samples, chip(rng), bowed=False)
    return wave


def arpeggio(rng: np.random.Generator, samples: int) -> Wave:
    """Broken chords and trills: two to five notes over and over, quicker than a two-tone siren."""
    timbre = chip(rng) if rng.random() < 0.6 else additive(rng)
    root, hand = rng.uniform(200, 1200), _hand(rng, bowed=False)
    chord = rng.choice(
        [0, 2, 3, 4, 5, 7, 9, 12, 15, 16, 19], int(rng.integers(2, 6)), replace=False
    )
    length, at = seconds(rng.uniform(0.04, 0.18)), 0

    def one() -> Wave:
        nonlocal at
        at += 1
        pitch = root * 2 ** (chord[at % len(chord)] / 12)
        return _note(hand, timbre, pitch, pitch, length)

    return row(rng, samples, one, (0.0, rng.uniform(0.001, 0.05)))


def solo(rng: np.random.Generator, samples: int) -> Wave:
    """Any instrument alone: pipes, reeds, horns, keyboards, synthesisers."""
    makers = (additive, additive, chip, modulated)
    timbre = makers[int(rng.integers(len(makers)))](rng)
    if rng.random() < 0.4:
        timbre = bodied(rng, timbre)
    return melody(rng, samples, timbre, bowed=bool(rng.random() < 0.5))


def band(rng: np.random.Generator, samples: int) -> Wave:
    """A radio, a band, a fair: two to four instruments, one of them low, and a drum."""
    wave = np.zeros(samples)
    for voice in range(int(rng.integers(2, 5))):
        part = melody(rng, samples, additive(rng) if rng.random() < 0.7 else modulated(rng),
                      bowed=bool(rng.random() < 0.4),
                      lowest_hz=rng.uniform(50, 120) if voice == 0 else 0.0)  # fmt: skip
        wave = wave + rng.uniform(0.3, 1) * normalised(part + 1e-6)
    if rng.random() < 0.6:
        beat = seconds(rng.uniform(0.15, 0.6))

        def hit() -> Wave:
            fade = np.exp(-np.arange(beat) / rng.uniform(200, 1500))
            return noise(rng, beat, rng.uniform(0, 2)) * fade

        wave = wave + rng.uniform(0.2, 1.5) * row(rng, samples, hit, (0.0, 0.001))
    return wave
