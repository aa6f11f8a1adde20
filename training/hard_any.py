"""Tonal sounds of no name: any timbre, any line of the pitch, any rhythm that no siren has.

Kinds with a name are recipes, and a network can learn the recipe. Here the spectrum is a random
smooth line with peaks, drawn anew for each voice and moving while it sounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from training.hard_parts import arc, curve, row, seconds
from training.sounds import RATE_HZ, Wave, noise, normalised

_TOP_HZ = 7600.0
_PERIOD = 2048


def _envelope(rng: np.random.Generator) -> tuple[Wave, Wave]:
    """Return knots in Hz and the gain there in dB: a slope and peaks, as throats and boxes have."""
    knots = np.linspace(0, 8000, 65)
    gain = -rng.uniform(0, 14) * np.log2(np.maximum(knots, 250) / 250)
    for _ in range(int(rng.integers(0, 6))):
        centre, width = np.exp(rng.uniform(np.log(300), np.log(5500))), rng.uniform(0.06, 0.35)
        away = np.log(np.maximum(knots, 60) / centre) / width
        gain = gain + rng.uniform(4, 26) * np.exp(-(away**2))
    return knots, gain + np.cumsum(rng.normal(0, rng.uniform(0, 1.5), 65))


def _through(wave: Wave, shape: tuple[Wave, Wave]) -> Wave:
    spectrum = np.fft.rfft(wave)
    at = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return normalised(np.fft.irfft(spectrum * 10 ** (np.interp(at, *shape) / 20), len(wave)))


def _source(rng: np.random.Generator, pitch_hz: Wave, rough: float, sharp: float) -> Wave:
    """Return something periodic: a bent saw, as sharp as is wanted, each period a little other."""
    pitch = np.clip(pitch_hz, 25.0, 5000.0)
    jitter = 1 + 0.02 * rough * noise(rng, len(pitch), 1.0)
    most = max(1, min(int(1 + 40 * sharp), int(_TOP_HZ / float(pitch.max()))))
    skew = rng.uniform(0, np.pi)
    turn = np.linspace(0, 2 * np.pi, _PERIOD + 1)  # one period, looked up: a sum for each is slow
    period = sum(np.sin(k * turn + skew * k * k) for k in range(1, most + 1))
    at = np.cumsum(pitch * jitter) / RATE_HZ
    wave = np.interp((at - np.floor(at)) * _PERIOD, np.arange(_PERIOD + 1), period)
    return normalised(wave) + rough * noise(rng, len(pitch), rng.uniform(0, 1.5))


class _Voice:
    """One throat or instrument: its events sound alike, and change while they last."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._rough = float(rng.choice([0.02, 0.1, 0.4])) * rng.uniform(0.5, 1.5)
        self._sharp = rng.uniform(0.05, 1.0) ** 0.7
        self._shapes = _envelope(rng), _envelope(rng)
        self._moves = rng.random() < 0.5

    def __call__(self, pitch_hz: Wave) -> Wave:
        wave = _source(self._rng, pitch_hz, self._rough, self._sharp)
        first = _through(wave, self._shapes[0])
        if not self._moves:
            return first
        share = np.linspace(0, 1, len(wave))
        return first * (1 - share) + _through(wave, self._shapes[1]) * share


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What one throat calls, each time a little other."""

    voice: _Voice
    knots_hz: Wave
    breath_s: float
    attack: float
    release: float

    def __call__(self, rng: np.random.Generator) -> Wave:
        length = seconds(self.breath_s * rng.uniform(0.7, 1.3))
        pitch = curve(rng, length, list(self.knots_hz * rng.uniform(0.95, 1.05)), 0.04)
        return self.voice(pitch) * arc(length, self.attack, self.release)


def cry(rng: np.random.Generator, samples: int) -> Wave:
    """Anything with a throat: calls of a breath at most, with pauses to breathe."""
    wave = np.zeros(samples)
    for _ in range(1 + (rng.random() < 0.25)):
        voice, base = _Voice(rng), np.exp(rng.uniform(np.log(160), np.log(1500)))
        spread, breath_s = rng.uniform(0.03, 0.7), np.exp(rng.uniform(np.log(0.08), np.log(1.8)))
        shape = 1 + spread * rng.uniform(-0.7, 1.0, int(rng.integers(2, 7)))
        attack, release = rng.uniform(0.02, 0.5), rng.uniform(0.05, 0.6)

        call = _Call(voice=voice, knots_hz=base * shape, breath_s=breath_s, attack=attack,
                     release=release)  # fmt: skip

        pause_s = breath_s * rng.uniform(0.15, 1.5)
        wave = wave + rng.uniform(0.4, 1) * row(
            rng, samples, partial(call, rng), (0.3 * pause_s, pause_s + 0.05)
        )
    return wave


def notes(rng: np.random.Generator, samples: int) -> Wave:
    """Anything that plays: notes of a scale, more than two of them, held, struck or blown."""
    voice = _Voice(rng)
    root = np.exp(rng.uniform(np.log(130), np.log(1300)))
    steps = np.cumsum(rng.choice([1, 2, 2, 3, 4, 5], int(rng.integers(3, 9))))
    beat_s = np.exp(rng.uniform(np.log(0.06), np.log(1.0)))
    vibrato, vibrato_hz = rng.choice([0.0, 1.0]) * rng.uniform(0.002, 0.03), rng.uniform(3.5, 8)
    dies = rng.choice([0.0, 1.0]) * rng.uniform(0.5, 8)
    attack_s, release_s = rng.uniform(0.002, 0.15), rng.uniform(0.005, 0.15)
    bend_s = rng.choice([0.0, 0.0, 1.0]) * rng.uniform(0.01, 0.2)
    at, before = 0, root

    def one() -> Wave:
        nonlocal at, before
        at = int(np.clip(at + rng.integers(-3, 4), 0, len(steps) - 1))
        pitch = root * 2 ** (steps[at] / 12)
        length = seconds(beat_s * float(rng.choice([0.5, 1, 1, 2])))
        t = np.arange(length) / RATE_HZ
        line = pitch * (1 + vibrato * np.sin(2 * np.pi * vibrato_hz * t))
        bend = min(length, int(bend_s * RATE_HZ))
        line[:bend] = np.geomspace(before, pitch, bend) if bend else line[:bend]
        before = pitch
        edges = arc(length, attack_s * RATE_HZ / length, release_s * RATE_HZ / length)
        return voice(line) * np.exp(-dies * t) * edges

    return row(rng, samples, one, (0.0, float(rng.choice([0.002, 0.2])) * rng.uniform(0.3, 1)))


def slide(rng: np.random.Generator, samples: int) -> Wave:
    """Slide whistles, toys, risers, starting motors: one sweep over a siren's range, and silence.

    No siren sweeps once and falls silent, nor begins anew at the bottom each time after a pause.
    """
    voice = _Voice(rng)
    low, ratio = rng.uniform(150, 1100), rng.uniform(1.2, 3.5)
    length_s, down = np.exp(rng.uniform(np.log(0.08), np.log(0.9))), rng.random() < 0.5
    bend = rng.uniform(0.4, 2.5)

    def one() -> Wave:
        length = seconds(length_s * rng.uniform(0.8, 1.2))
        way = np.linspace(0, 1, length) ** bend
        pitch = low * ratio ** (1 - way if down else way)
        return voice(pitch) * arc(length, rng.uniform(0.02, 0.3), rng.uniform(0.05, 0.5))

    return row(rng, samples, one, (0.25 + 0.3 * length_s, 0.6 + 2.0 * length_s))
