"""Windows of sounds at random, with what they contain: what the audio encoder is trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training import sounds
from training.hard_sounds import HARD, LIKE_HORNS, SHARES, VOICES
from training.sounds import CLASSES, Wave, normalised

_MAKERS = (sounds.siren, sounds.horn, sounds.engine, sounds.speech, sounds.rain)
_DISTRACTING = (sounds.chord, sounds.chirps, sounds.beeps, sounds.knocks, sounds.squeal)
_ALARMS = (0, 1, 3)  # classes that may be louder than all else, or hidden in it
_SIREN, _HORN, _SPEECH = 0, 1, 3
_ARRAYS = 0.4  # share that is the mean of several microphones
_NOTHING = 0.1  # share without any sound of a class
_BOTH = 0.12  # share with a siren and a horn about as loud: neither may hide the other
_BOTH_DB = 6.0  # how far apart they are at most
_HIDDEN_DB = -3.0  # below the noise nobody says whether it is heard
_DROWNED_DB = 9.0  # so far below a sound that is like it, neither


def mixture(
    rng: np.random.Generator, samples: int, *, hard: float = 0.6
) -> tuple[Wave, NDArray, NDArray]:
    """Return a window, its labels (K,) in 0 to 1 and which of them are certain (K,).

    Args:
        rng: fixes it.
        samples: of the window.
        hard: share of windows with sounds that are like sirens and are none.
    """
    labels, certain = np.zeros(len(CLASSES)), np.ones(len(CLASSES))
    array = sounds.several_microphones if rng.random() < _ARRAYS else _one_microphone
    levels = np.full(len(CLASSES), -np.inf)
    wave = sounds.background(rng, samples)
    shares = (0.4, 0.35, 0.3, 0.4, 0.15)
    if rng.random() < _NOTHING:
        shares = (0.0,) * len(CLASSES)
    together_db = rng.uniform(0, 20) if rng.random() < _BOTH else None
    if together_db is not None:
        shares = (1.0, 1.0, *shares[2:])
    for k, (share, make) in enumerate(zip(shares, _MAKERS, strict=True)):
        if rng.random() >= share:
            continue
        levels[k] = rng.uniform(-6, 24) if k in _ALARMS else rng.uniform(0, 20)
        if together_db is not None and k in (_SIREN, _HORN):
            levels[k] = together_db + rng.uniform(-_BOTH_DB, _BOTH_DB) / 2
        sound = sounds.simulated(k, rng, samples) if rng.random() < 0.3 else make(rng, samples)
        sound = sound * sounds.presence(rng, samples, brief=k in (_HORN, _SPEECH))
        sound = array(rng, sound)
        active_s = sounds.active_s(sound)
        wave = wave + normalised(sound) * 10 ** (levels[k] / 20)
        labels[k] = float(active_s >= 0.3)
        certain[k] = float(active_s >= 0.3 or active_s < 0.1)
        if k in _ALARMS and levels[k] < _HIDDEN_DB:
            certain[k] = 0.0
    for distract in _DISTRACTING:
        if rng.random() < 0.12:
            level_db = rng.uniform(-6, 15)
            wave = wave + normalised(distract(rng, samples)) * 10 ** (level_db / 20)
    if rng.random() < hard:
        for _ in range(int(rng.integers(1, 3))):
            wave = wave + array(rng, _hard(rng, samples, levels, labels, certain))
    if rng.random() < 0.6:
        wave = sounds.reverberate(rng, wave)
    wave = sounds.coloured(rng, wave)
    wave = wave / (np.abs(wave).max() + 1e-9) * 10 ** (rng.uniform(-32, 2) / 20)
    return np.clip(wave, -1, 1), labels, certain


def _one_microphone(rng: np.random.Generator, wave: Wave) -> Wave:  # noqa: ARG001
    return wave


def _hard(
    rng: np.random.Generator, samples: int, levels: NDArray, labels: NDArray, certain: NDArray
) -> Wave:
    """Return one sound that is like another; what it drowns is certain no more."""
    kind = str(rng.choice(list(HARD), p=SHARES))
    level_db = rng.uniform(-3, 24)
    # Longer than the window, and cut: most of what is heard has begun before.
    longer = samples + int(rng.uniform(0, 3) * samples)
    sound = HARD[kind](rng, longer)
    start = int(rng.integers(0, longer - samples + 1))
    sound = normalised(sound[start : start + samples] + 1e-6) * 10 ** (level_db / 20)
    for k in _ALARMS:
        if labels[k] and level_db - levels[k] > _DROWNED_DB:
            certain[k] = 0.0
    if kind in LIKE_HORNS and not labels[_HORN]:
        certain[_HORN] = 0.0
    if kind in VOICES and not labels[_SPEECH]:
        certain[_SPEECH] = 0.0
    return sound
