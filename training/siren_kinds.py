"""Sirens as vehicles of several countries sound them, over seconds: what the head over time learns.

Wail, yelp and phaser of North America, two tones of Europe and Japan, and motor sirens; changed
from one to another as drivers do, driven past, through horns of any quality.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

from training.sounds import RATE_HZ, Wave, harmonics, normalised

_KINDS = ("wail", "yelp", "phaser", "two_tone", "motor")
_SHARES = (0.34, 0.2, 0.06, 0.34, 0.06)
# Hz: France (police, fire, ambulance), Germany (town, country), Italy, Netherlands, Japan.
_TWO_TONES = ((435, 580), (435, 488), (420, 516), (440, 585), (410, 547), (392, 660), (375, 500),
              (770, 960))  # fmt: skip
_MOST_LOUDER = (
    1.2  # of an amplitude, from one end of a clip to the other, as a vehicle comes or goes
)


def stream(rng: np.random.Generator, samples: int) -> Wave:
    """Return one vehicle's siren without a pause, RMS 1."""
    kind = str(rng.choice(_KINDS, p=_SHARES))
    pitch = _pitch(rng, kind, samples)
    if rng.random() < 0.2:  # the driver changes it
        at = int(rng.uniform(0.2, 0.8) * samples)
        pitch = np.concatenate([pitch[:at], _pitch(rng, str(rng.choice(_KINDS)), samples)[at:]])
    wave = _voice(rng, pitch * _passing(rng, samples))
    louder = rng.uniform(-_MOST_LOUDER, _MOST_LOUDER)
    return normalised(wave * np.exp(np.linspace(-louder, louder, samples) / 2))


def _pitch(rng: np.random.Generator, kind: str, samples: int) -> Wave:
    t = np.arange(samples) / RATE_HZ + rng.uniform(0, 20)
    if kind == "two_tone":
        return _two_tones(rng, t)
    low, high = rng.uniform(380, 850), rng.uniform(950, 1900)
    if kind == "motor":  # winds up, runs down slowly
        low, high = rng.uniform(150, 400), rng.uniform(500, 1150)
    # Periods in s.
    shortest, longest = {"wail": (1.8, 12.0), "yelp": (0.2, 0.6), "phaser": (0.06, 0.12),
                         "motor": (3.0, 14.0)}[kind]  # fmt: skip
    period_s = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    phase = np.mod(t / period_s, 1.0)
    top = rng.uniform(0.25, 0.85)
    way = np.where(phase < top, phase / top, (1 - phase) / (1 - top))
    shape = rng.choice(["line", "arc", "charge"], p=(0.3, 0.4, 0.3))
    if shape == "arc":
        way = 0.5 - 0.5 * np.cos(np.pi * way)
    elif shape == "charge":  # a capacitor that is charged and discharged
        steep = rng.uniform(1.0, 3.0)
        up = (1 - np.exp(-steep * way)) / (1 - np.exp(-steep))
        down = (np.exp(steep * way) - 1) / (np.exp(steep) - 1)
        way = np.where(phase < top, up, down)
    line: Wave = low * (high / low) ** way
    return line


def _two_tones(rng: np.random.Generator, t: Wave) -> Wave:
    if rng.random() < 0.5:
        low, high = _TWO_TONES[int(rng.integers(len(_TWO_TONES)))]
        low, high = low * rng.uniform(0.96, 1.04), high * rng.uniform(0.96, 1.04)
    else:
        low = rng.uniform(340, 900)
        high = low * rng.uniform(1.12, 1.55)
    first_s = float(np.exp(rng.uniform(np.log(0.3), np.log(1.3))))
    second_s = first_s * (1.0 if rng.random() < 0.7 else rng.uniform(0.6, 1.6))
    at = np.mod(t, first_s + second_s)
    glide_s = rng.choice([0.003, rng.uniform(0.01, 0.08)])
    share = np.clip((at - first_s) / glide_s, 0, 1) - np.clip(
        (at - first_s - second_s + glide_s) / glide_s, 0, 1
    )
    line: Wave = low * (high / low) ** share
    return line


def _passing(rng: np.random.Generator, samples: int) -> Wave:
    """Return the Doppler shift of a vehicle that comes, passes or goes."""
    speed = rng.uniform(-0.06, 0.06)  # of that of sound
    t = np.arange(samples) / RATE_HZ - rng.uniform(-3, 10)
    return 1.0 - speed * np.tanh(t / rng.uniform(0.5, 4))


def _voice(rng: np.random.Generator, pitch_hz: Wave) -> Wave:
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    most = max(1, int(7600 / float(pitch_hz.max())))
    if rng.random() < 0.5:
        wave = np.tanh(
            rng.uniform(0.5, 4) * (np.sin(phase) + rng.uniform(0, 0.4) * np.sin(2 * phase))
        )
    else:
        wave = harmonics(rng, phase, min(int(rng.integers(1, 14)), most), rng.uniform(0.4, 2.5))
    if rng.random() < 0.5:  # a horn loudspeaker
        edges = [rng.uniform(250, 600), rng.uniform(2200, 7000)]
        wave = np.asarray(sosfilt(butter(1, edges, "band", fs=RATE_HZ, output="sos"), wave))
    return normalised(wave)
