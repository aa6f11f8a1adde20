"""Clips of sounds that are no sirens, made in other ways than those of training.

Training adds sine waves up (`hard_sounds`); here tones are modulated in frequency, strings are
delay lines, voices are pulses through resonators, and several kinds are in training under no name.
Nothing here may be used for training or for the choice of thresholds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

RATE_HZ = 16_000
Wave = NDArray[np.float64]
_SEED = 770_000
_LEAST_DB, _MOST_DB = 6.0, 22.0  # above the noise of the place


def clip(kind: str, number: int, length_s: float = 5.0) -> NDArray[np.float32]:
    """Return a clip of a kind, its own number, with noise and echoes of some place."""
    rng = np.random.default_rng([_SEED, list(HELD_OUT).index(kind), number])
    count = round(length_s * RATE_HZ)
    wave = HELD_OUT[kind](rng, count)
    echo = np.zeros(int(rng.uniform(0.03, 0.25) * RATE_HZ) + 1)
    echo[0], echo[-1] = 1.0, rng.uniform(0, 0.5)
    wave = _level(np.convolve(wave, echo)[:count])
    air = _level(lfilter([1.0], [1.0, -rng.uniform(0.5, 0.98)], rng.standard_normal(count)))
    wave = wave * 10 ** (rng.uniform(_LEAST_DB, _MOST_DB) / 20) + air
    return (wave / np.abs(wave).max() * rng.uniform(0.05, 0.9)).astype(np.float32)


def _level(wave: Wave) -> Wave:
    return wave / (np.sqrt(np.mean(wave**2)) + 1e-9)


def _t(count: int) -> Wave:
    return np.arange(count) / RATE_HZ


def _fade(count: int, attack_s: float, decay_s: float) -> Wave:
    t = _t(count)
    end = np.minimum(1.0, (count - np.arange(count)) / 160)
    return np.minimum(t / max(attack_s, 1e-4), 1.0) * np.exp(-t / decay_s) * end


def _sequence(
    rng: np.random.Generator, count: int, make: Callable[[], Wave], pause_s: tuple[float, float]
) -> Wave:
    wave, at = np.zeros(count), int(rng.uniform(0, 0.5) * RATE_HZ)
    while at < count:
        event = make()[: count - at]
        wave[at : at + len(event)] += event
        at += len(event) + int(rng.uniform(*pause_s) * RATE_HZ)
    return wave


def _fm(count: int, carrier_hz: float, ratio: float, index: float, decay_s: float) -> Wave:
    """Frequency modulation (Chowning, 1973)."""
    t = _t(count)
    inner = index * np.exp(-t / decay_s) * np.sin(2 * np.pi * carrier_hz * ratio * t)
    return np.sin(2 * np.pi * carrier_hz * t + inner)


def _resonators(wave: Wave, centres_hz: list[float], width_hz: float) -> Wave:
    total = np.zeros(len(wave))
    for centre in centres_hz:
        r = np.exp(-np.pi * width_hz / RATE_HZ)
        turn = 2 * r * np.cos(2 * np.pi * min(centre, 7500.0) / RATE_HZ)
        total += _level(lfilter([1 - r], [1, -turn, r * r], wave))
    return total


def _pulses(pitch_hz: Wave, rough: float, rng: np.random.Generator) -> Wave:
    """Opening glottis: one pulse a period, unevenly strong."""
    phase = np.cumsum(pitch_hz) / RATE_HZ
    edges = np.diff(np.floor(phase), prepend=0.0) > 0
    strength = 1 + rough * rng.standard_normal(len(phase))
    return lfilter([1, -0.9], [1, -0.7], edges * strength)


def _throat(
    rng: np.random.Generator, knots_hz: list[float], length_s: float, centres_hz: list[float],
    rough: float,
) -> Wave:  # fmt: skip
    count = max(int(length_s * RATE_HZ), 200)
    pitch = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(knots_hz)), knots_hz)
    wave = _pulses(pitch, rough, rng) + 0.03 * rough * rng.standard_normal(count)
    return _resonators(wave, centres_hz, 180.0) * np.hanning(count) ** 0.5


def _pack(rng: np.random.Generator, count: int) -> Wave:
    """Two dogs."""
    total = np.zeros(count)
    for base in (rng.uniform(250, 450), rng.uniform(500, 950)):
        centres = [base * 1.6, base * 3, 2600.0]
        total += _sequence(
            rng, count,
            lambda base=base, centres=centres: _throat(
                rng, [base, 1.4 * base, 0.7 * base], rng.uniform(0.09, 0.25), centres, 0.7
            ),
            (0.08, 0.7),
        )  # fmt: skip
    return total


def _cats(rng: np.random.Generator, count: int) -> Wave:
    base = rng.uniform(380, 700)
    return _sequence(
        rng, count,
        lambda: _throat(rng, [base, 1.3 * base, 1.25 * base, 0.8 * base], rng.uniform(0.4, 1.3),
                        [900.0, 1900.0, 3300.0], 0.15),
        (0.3, 1.0),
    )  # fmt: skip


def _songbird(rng: np.random.Generator, count: int) -> Wave:
    """A phrase of frequency-modulated notes that comes again."""
    low, high = (1800, 0.04, 5, 0), (5200, 0.3, 60, 9)  # pitch, length, rate and depth
    notes = rng.uniform(low, high, (int(rng.integers(3, 8)), 4)).tolist()

    def phrase() -> Wave:
        parts = []
        for pitch, length_s, rate, index in notes:
            t = _t(max(int(length_s * RATE_HZ), 200))
            tone = np.sin(2 * np.pi * pitch * t + index * np.sin(2 * np.pi * rate * t))
            parts += [tone * np.hanning(len(t)), np.zeros(int(rng.uniform(0.01, 0.12) * RATE_HZ))]
        return np.concatenate(parts)

    return _sequence(rng, count, phrase, (0.2, 1.2))


def _gulls(rng: np.random.Generator, count: int) -> Wave:
    base = rng.uniform(700, 1200)
    return _sequence(
        rng, count,
        lambda: _throat(rng, [base, 1.5 * base, 1.1 * base], rng.uniform(0.2, 0.6),
                        [1400.0, 2800.0, 4200.0], 0.4),
        (0.05, 0.6),
    )  # fmt: skip


def _cock(rng: np.random.Generator, count: int) -> Wave:
    base = rng.uniform(450, 750)

    def crow() -> Wave:
        parts = [
            _throat(rng, [base * a, base * b, base * c], s, [1300.0, 2500.0, 3900.0], 0.3)
            for a, b, c, s in ((0.9, 1, 0.9, 0.2), (1, 1.2, 1.1, 0.25), (1.1, 1.3, 0.9, 0.9))
        ]
        return np.concatenate(parts)

    return _sequence(rng, count, crow, (0.6, 1.5))


def _owl(rng: np.random.Generator, count: int) -> Wave:
    pitch = rng.uniform(280, 700)

    def hoot() -> Wave:
        count = int(rng.uniform(0.15, 0.6) * RATE_HZ)
        air = _resonators(rng.standard_normal(count), [pitch], 12.0)
        return (0.4 * _level(air) + _fm(count, pitch, 1.0, 0.4, 1.0)) * np.hanning(count)

    return _sequence(rng, count, hoot, (0.1, 1.0))


def _infant(rng: np.random.Generator, count: int) -> Wave:
    base = rng.uniform(380, 560)
    return _sequence(
        rng, count,
        lambda: _throat(rng, [0.8 * base, 1.15 * base, 1.1 * base, 0.75 * base],
                        rng.uniform(0.5, 1.2), [1100.0, 2700.0, 3700.0], 0.2),
        (0.2, 0.5),
    )  # fmt: skip


def _carillon(rng: np.random.Generator, count: int) -> Wave:
    """Bells by frequency modulation, in changes."""
    tones = rng.uniform(240, 500) * np.array([1.0, 1.12, 1.26, 1.5, 1.68])
    total = np.zeros(count)
    at, gap = 0, int(rng.uniform(0.25, 0.7) * RATE_HZ)
    while at < count:
        length = min(int(2.5 * RATE_HZ), count - at)
        bell = _fm(length, float(rng.choice(tones)), 1.4, rng.uniform(3, 8), 0.8)
        total[at : at + length] += bell * _fade(length, 0.002, 1.2)
        at += gap
    return total


def _bicycle(rng: np.random.Generator, count: int) -> Wave:
    pitch = rng.uniform(1500, 2900)

    def ring() -> Wave:
        strike = int(0.055 * RATE_HZ)
        parts = [_fm(strike, pitch, 1.51, 4.0, 0.02) * _fade(strike, 0.001, 0.05)
                 for _ in range(int(rng.integers(3, 9)))]  # fmt: skip
        tail = int(0.5 * RATE_HZ)
        return np.concatenate([*parts, _fm(tail, pitch, 1.51, 2.0, 0.1) * _fade(tail, 0.001, 0.2)])

    return _sequence(rng, count, ring, (0.2, 1.2))


def _old_telephone(rng: np.random.Generator, count: int) -> Wave:
    """A clapper that excites two resonant gongs."""
    low = rng.uniform(1000, 1700)
    rate = rng.uniform(18, 26)

    def ring() -> Wave:
        length = int(rng.uniform(0.8, 1.9) * RATE_HZ)
        hits = np.zeros(length)
        hits[:: int(RATE_HZ / rate)] = 1.0
        gongs = [low, low * 1.19, low * 2.3, low * 2.74, low * 4.1]
        return _resonators(hits, gongs, 9.0) * _fade(length, 0.001, 20.0)

    return _sequence(rng, count, ring, (0.4, 1.8))


def _square_tune(rng: np.random.Generator, count: int) -> Wave:
    """A telephone or an arcade game of square waves, with fast arpeggios."""
    root = rng.uniform(350, 900)

    def bar() -> Wave:
        parts = []
        for step in rng.integers(0, 20, int(rng.integers(4, 10))):
            length = int(rng.choice([0.05, 0.1, 0.2]) * RATE_HZ)
            phase = root * 2 ** (step / 12) * _t(length)
            parts.append((np.mod(phase, 1.0) < 0.5) * 2.0 - 1.0)
        return np.concatenate(parts) * 0.5

    return _sequence(rng, count, bar, (0.0, 0.8))


def _strings(rng: np.random.Generator, count: int) -> Wave:
    """A violin: sawtooth with vibrato and slides through a body of resonances."""
    body = [280.0, 460.0, 580.0, 700.0, 1000.0, 2500.0, 3200.0]
    note = rng.uniform(220, 700)
    pitch = []
    while sum(map(len, pitch)) < count:
        after = float(np.clip(note * 2 ** (rng.integers(-5, 6) / 12), 200, 1300))
        slide, hold = int(rng.uniform(0.02, 0.12) * RATE_HZ), int(rng.uniform(0.15, 0.9) * RATE_HZ)
        pitch += [np.linspace(note, after, slide), np.full(hold, after)]
        note = after
    line = np.concatenate(pitch)[:count]
    line = line * (1 + 0.008 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * _t(count)))
    saw = 2 * np.mod(np.cumsum(line) / RATE_HZ, 1.0) - 1
    sos = butter(2, 5500, fs=RATE_HZ, output="sos")
    return _resonators(sosfilt(sos, saw), body, 120.0) + 0.5 * saw


def _guitar(rng: np.random.Generator, count: int) -> Wave:
    """Plucked strings as delay lines (Karplus and Strong, 1983)."""
    root = rng.uniform(90, 330)

    def pluck() -> Wave:
        period = max(int(RATE_HZ / (root * 2 ** (rng.integers(0, 20) / 12))), 4)
        length = int(rng.uniform(0.15, 0.7) * RATE_HZ)
        excited = np.zeros(length)
        excited[: min(period, length)] = rng.uniform(-1, 1, min(period, length))
        a = np.zeros(period + 2)
        a[0], a[period], a[period + 1] = 1.0, -0.497, -0.497
        return lfilter([1.0], a, excited)

    return _sequence(rng, count, pluck, (0.0, 0.15))


def _slide_whistle(rng: np.random.Generator, count: int) -> Wave:
    """A toy whistle, a person's whistle for a dog: air through a narrow resonance, in jerks."""
    pitch = rng.uniform(900, 1700)

    def blow() -> Wave:
        length = int(rng.uniform(0.12, 0.45) * RATE_HZ)
        line = np.linspace(pitch, pitch * rng.choice([0.6, 0.75, 1.3, 1.6]), length)
        air = rng.standard_normal(length) * 0.1
        return (np.sin(2 * np.pi * np.cumsum(line) / RATE_HZ) + air) * np.hanning(length)

    return _sequence(rng, count, blow, (0.1, 0.7))


def _workshop(rng: np.random.Generator, count: int) -> Wave:
    """A saw that bites: pulses of teeth with jitter."""
    base = rng.uniform(350, 1100)
    load = np.interp(_t(count), np.arange(0, 9), base * rng.uniform(0.75, 1.1, 9))
    teeth = _pulses(load * (1 + 0.01 * rng.standard_normal(count)), 0.4, rng)
    return _resonators(teeth, [1200.0, 2600.0, 4700.0], 400.0) + 0.5 * rng.standard_normal(count)


def _signals(rng: np.random.Generator, count: int) -> Wave:
    """Beeps of a lorry, an oven, a smoke detector, a heart monitor."""
    pitch = float(rng.choice([800.0, 1000.0, 1250.0, 2000.0, 2730.0, 3150.0]))
    on, off = rng.uniform(0.08, 0.6), rng.uniform(0.1, 0.9)
    tone = int(on * RATE_HZ)
    square = (np.mod(pitch * _t(tone), 1.0) < 0.5) * 2.0 - 1.0
    kept = lfilter([0.3], [1, -0.7], square) * np.minimum(1, np.minimum(
        np.arange(tone), tone - np.arange(tone)) / 80)  # fmt: skip
    return _sequence(rng, count, lambda: kept, (off, off + 1e-4))


def _tram(rng: np.random.Generator, count: int) -> Wave:
    """A tram that pulls away: gear tones that rise together, inverter steps, flanges."""
    speed = np.linspace(rng.uniform(0.2, 0.6), rng.uniform(0.7, 1.0), count)
    total = rng.standard_normal(count) * 0.5
    for gear in rng.uniform(350, 1400, 3):
        total = total + np.sin(2 * np.pi * np.cumsum(gear * speed) / RATE_HZ)
    step = float(rng.choice([600.0, 800.0, 1050.0]))
    return total + 0.7 * np.sign(np.sin(2 * np.pi * step * _t(count))) * (speed < 0.6)


HELD_OUT: dict[str, Callable[[np.random.Generator, int], Wave]] = {
    "dogs": _pack,
    "cats": _cats,
    "songbird": _songbird,
    "gulls": _gulls,
    "cock": _cock,
    "owl": _owl,
    "infant": _infant,
    "carillon": _carillon,
    "bicycle bell": _bicycle,
    "telephone bell": _old_telephone,
    "square-wave tune": _square_tune,
    "violin": _strings,
    "guitar": _guitar,
    "whistle": _slide_whistle,
    "saw": _workshop,
    "beeps": _signals,
    "tram": _tram,
}
