"""Animals and voices."""

from __future__ import annotations

import numpy as np

from training.hard_parts import arc, band, curve, row, seconds, voiced
from training.sounds import RATE_HZ, Wave, noise, normalised


def bark(rng: np.random.Generator, samples: int) -> Wave:
    """A dog: short, rough, up and down."""
    base, rough = rng.uniform(180, 1100), rng.uniform(0.2, 1.2)

    def one() -> Wave:
        length = seconds(rng.uniform(0.07, 0.35))
        top = base * rng.uniform(1.0, 1.8)
        pitch = curve(rng, length, [base * 0.8, top, base * rng.uniform(0.5, 1.0)], 0.1)
        wave = voiced(rng, pitch, fall=rng.uniform(0.2, 1.2), breath=rough, formants=1)
        return wave * arc(length, rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.7))

    return row(rng, samples, one, (0.05, rng.uniform(0.1, 1.0)))


def howl(rng: np.random.Generator, samples: int) -> Wave:
    """A dog or wolf that howls: up, held, down, never to the pitch of an electronic siren."""
    base = rng.uniform(200, 620)

    def one() -> Wave:
        length = seconds(rng.uniform(0.8, 4.0))
        held = base * rng.uniform(1.1, 1.7)
        knots = [base * 0.7, held, held * rng.uniform(0.93, 1.07), held, base * 0.6]
        wave = voiced(rng, curve(rng, length, knots, 0.04), partials=6, fall=rng.uniform(0.8, 2.2),
                      breath=rng.uniform(0.02, 0.25), formants=1)  # fmt: skip
        return wave * arc(length, 0.2, 0.3)

    return row(rng, samples, one, (0.2, 1.5))


def meow(rng: np.random.Generator, samples: int) -> Wave:
    """A cat: one arc of the pitch while the mouth opens and closes."""
    base = rng.uniform(350, 900)

    def one() -> Wave:
        length = seconds(rng.uniform(0.3, 1.4))
        knots = [base * 0.8, base * rng.uniform(1.1, 1.5), base, base * rng.uniform(0.5, 0.9)]
        wave = voiced(rng, curve(rng, length, knots, 0.04), fall=rng.uniform(0.3, 1.0),
                      breath=rng.uniform(0.02, 0.3))  # fmt: skip
        opened = np.linspace(0, 1, length)
        low, high = band(rng, wave, rng.uniform(500, 900)), band(rng, wave, rng.uniform(1300, 3000))
        wave = normalised(low) * (1 - np.sin(np.pi * opened)) + normalised(high) * opened
        return wave * arc(length, 0.15, 0.4)

    return row(rng, samples, one, (0.2, 1.5))


def bird_song(rng: np.random.Generator, samples: int) -> Wave:
    """Whistled notes, sweeps and trills of one bird or several."""
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(1, 4))):
        base = rng.uniform(1300, 5500)
        shape = list(rng.uniform(0.75, 1.3, int(rng.integers(2, 5))))
        length = seconds(rng.uniform(0.03, 0.5))
        pause = rng.uniform(0.01, 0.4)

        def one(base: float = base, shape: list[float] = shape, length: int = length) -> Wave:
            knots = [base * s * rng.uniform(0.97, 1.03) for s in shape]
            pitch = curve(rng, length, knots, 0.01)
            sung = voiced(rng, pitch, partials=3, fall=rng.uniform(1.5, 3.5), breath=0.01)
            return sung * arc(length, 0.2, 0.3)

        wave += rng.uniform(0.3, 1) * row(rng, samples, one, (0.01, pause + 0.02))
    return wave


def crow(rng: np.random.Generator, samples: int) -> Wave:
    """Crows, geese, gulls: harsh calls."""
    base = rng.uniform(250, 1300)

    def one() -> Wave:
        length = seconds(rng.uniform(0.15, 0.7))
        knots = [base, base * rng.uniform(1.0, 1.5), base * rng.uniform(0.6, 1.0)]
        wave = voiced(rng, curve(rng, length, knots, 0.15), partials=20, fall=rng.uniform(0.0, 0.8),
                      breath=rng.uniform(0.2, 0.9), formants=1)  # fmt: skip
        rasp = 1 + rng.uniform(0, 0.9) * np.sin(np.arange(length) * 2 * np.pi * 70 / RATE_HZ)
        return wave * rasp * arc(length, 0.1, 0.3)

    return row(rng, samples, one, (0.1, 0.9))


def rooster(rng: np.random.Generator, samples: int) -> Wave:
    """A cock: three short cries and a long one."""
    base = rng.uniform(380, 900)

    def one() -> Wave:
        parts = []
        for length_s, high in ((0.15, 1.0), (0.2, 1.2), (0.15, 1.1), (rng.uniform(0.5, 1.1), 1.35)):
            length = seconds(length_s * rng.uniform(0.7, 1.4))
            knots = [base * high * 0.9, base * high, base * high * rng.uniform(0.6, 0.95)]
            wave = voiced(rng, curve(rng, length, knots, 0.05), partials=15,
                          fall=rng.uniform(0.0, 0.8), breath=rng.uniform(0.05, 0.4))  # fmt: skip
            parts += [wave * arc(length, 0.1, 0.2), np.zeros(seconds(rng.uniform(0.01, 0.1)))]
        return np.concatenate(parts)

    return row(rng, samples, one, (0.5, 3.0))


def hoot(rng: np.random.Generator, samples: int) -> Wave:
    """Doves, owls, cuckoos: soft, nearly pure notes of one or two pitches."""
    base, second = rng.uniform(230, 900), rng.uniform(0.75, 1.25)
    lengths = rng.uniform(0.1, 0.8, 3)
    turn = 0

    def one() -> Wave:
        nonlocal turn
        turn += 1
        pitch = base * (second if turn % 2 else 1.0)
        length = seconds(float(lengths[turn % 3]))
        knots = [pitch * 0.93, pitch, pitch * rng.uniform(0.85, 1.02)]
        wave = voiced(rng, curve(rng, length, knots, 0.01), partials=3, fall=rng.uniform(1.5, 3.5),
                      breath=rng.uniform(0.01, 0.1))  # fmt: skip
        return wave * arc(length, 0.25, 0.4)

    return row(rng, samples, one, (0.05, rng.uniform(0.1, 1.2)))


def cattle(rng: np.random.Generator, samples: int) -> Wave:
    """Cows, sheep, pigs: low voices, trembling or long."""
    base, tremble = rng.uniform(80, 480), rng.uniform(0, 0.6)

    def one() -> Wave:
        length = seconds(rng.uniform(0.4, 2.2))
        knots = [base * 0.8, base, base * rng.uniform(0.9, 1.3), base * rng.uniform(0.6, 1.0)]
        wave = voiced(rng, curve(rng, length, knots, 0.06), partials=25, fall=rng.uniform(0.2, 1.2),
                      breath=rng.uniform(0.05, 0.3), formants=2)  # fmt: skip
        beat = np.sin(2 * np.pi * rng.uniform(4, 11) * np.arange(length) / RATE_HZ)
        return wave * (1 + tremble * beat) * arc(length, 0.15, 0.35)

    return row(rng, samples, one, (0.2, 1.5))


def insects(rng: np.random.Generator, samples: int) -> Wave:
    """Crickets and cicadas: a steady high tone, cut or beating."""
    t = np.arange(samples) / RATE_HZ + rng.uniform(0, 5)
    tone = np.sin(2 * np.pi * rng.uniform(2500, 7000) * t)
    tone = tone + rng.uniform(0, 0.8) * band(rng, noise(rng, samples, 0.0), rng.uniform(3000, 6500))
    pulse = np.clip(np.sin(2 * np.pi * rng.uniform(8, 60) * t) + rng.uniform(-0.5, 1), 0, 1)
    group = np.sin(2 * np.pi * rng.uniform(0.3, 3) * t) > rng.uniform(-1.2, 0.5)
    return tone * pulse * group


def baby(rng: np.random.Generator, samples: int) -> Wave:
    """A baby that cries, a child that screams: arcs of a breath."""
    base = rng.uniform(320, 720)

    def one() -> Wave:
        length = seconds(rng.uniform(0.3, 1.3))
        knots = [base * rng.uniform(0.7, 1), base * rng.uniform(1.0, 1.3), base * 1.05,
                 base * rng.uniform(0.6, 0.95)]  # fmt: skip
        wave = voiced(rng, curve(rng, length, knots, 0.05), partials=15, fall=rng.uniform(0.1, 1.0),
                      breath=rng.uniform(0.03, 0.5), formants=2)  # fmt: skip
        return wave * arc(length, 0.15, 0.25)

    return row(rng, samples, one, (0.1, 0.6))


def laughter(rng: np.random.Generator, samples: int) -> Wave:
    """Laughter and cheering: a row of short vowels, each lower."""
    base, fall = rng.uniform(130, 550), rng.uniform(0.9, 1.0)
    pitch = base

    def one() -> Wave:
        nonlocal pitch
        pitch = pitch * fall if pitch > 0.6 * base else base * rng.uniform(0.9, 1.2)
        length = seconds(rng.uniform(0.06, 0.25))
        wave = voiced(rng, curve(rng, length, [pitch * 1.1, pitch, pitch * 0.85], 0.05),
                      partials=25, fall=rng.uniform(0.4, 1.0), breath=rng.uniform(0.1, 0.8),
                      formants=2)  # fmt: skip
        return wave * arc(length, 0.2, 0.5)

    return row(rng, samples, one, (0.02, 0.2))


def singing(rng: np.random.Generator, samples: int) -> Wave:
    """A voice on the notes of a scale, with vibrato, sliding from one to the next."""
    note = rng.uniform(110, 500)
    steps = rng.choice([-5, -4, -2, -1, 1, 2, 3, 5, 7], 64)
    at = 0

    def one() -> Wave:
        nonlocal note, at
        before, at = note, at + 1
        note = float(np.clip(note * 2 ** (steps[at % 64] / 12), 100, 900))
        length = seconds(rng.uniform(0.15, 1.2))
        slide = min(length, seconds(rng.uniform(0.02, 0.15)))
        pitch = np.full(length, note)
        pitch[:slide] = np.linspace(before, note, slide)
        beat = np.sin(2 * np.pi * rng.uniform(4.5, 7) * np.arange(length) / RATE_HZ)
        pitch = pitch * (1 + rng.uniform(0, 0.03) * beat)
        wave = voiced(rng, pitch, partials=20, fall=rng.uniform(0.4, 1.3), breath=0.03, formants=2)
        return wave * arc(length, 0.05, 0.1)

    return row(rng, samples, one, (0.0, rng.uniform(0.0, 0.3)))


def yowl(rng: np.random.Generator, samples: int) -> Wave:
    """Cats that fight or call: long cries that rise, hang and break, sometimes of two at once."""
    wave = np.zeros(samples)
    for _ in range(int(rng.integers(1, 3))):
        base, spread = rng.uniform(260, 950), rng.uniform(0.05, 0.8)
        rough = rng.uniform(0.01, 0.4)

        def one(base: float = base, spread: float = spread, rough: float = rough) -> Wave:
            length = seconds(rng.uniform(0.25, 2.5))
            shape = 1 + spread * rng.uniform(-0.6, 1.0, int(rng.integers(3, 7)))
            wave = voiced(rng, curve(rng, length, list(base * shape), 0.05),
                          partials=int(rng.integers(3, 25)), fall=rng.uniform(0.1, 1.6),
                          breath=rough, formants=int(rng.integers(0, 3)))  # fmt: skip
            opened = np.sin(np.pi * np.linspace(0, 1, length)) ** rng.uniform(0.3, 2)
            bright = normalised(band(rng, wave, rng.uniform(900, 3500)))
            wave = normalised(wave) * (1 - 0.7 * opened) + bright * opened
            return wave * arc(length, rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.5))

        wave += rng.uniform(0.4, 1) * row(rng, samples, one, (0.05, 1.2))
    return wave


def beast(rng: np.random.Generator, samples: int) -> Wave:
    """Horses, donkeys, elephants, foxes, peacocks, seals: cries that jump, tremble and rasp."""
    base, tremble_hz = rng.uniform(150, 1400), rng.uniform(5, 25)
    deep, jump = rng.uniform(0.0, 0.9), rng.uniform(0.5, 2.0)

    def one() -> Wave:
        length = seconds(rng.uniform(0.15, 1.5))
        knots = [base, base * jump, base * jump * rng.uniform(0.7, 1.2), base * rng.uniform(0.5, 1)]
        beat = np.sin(2 * np.pi * tremble_hz * np.arange(length) / RATE_HZ)
        pitch = curve(rng, length, knots, 0.08) * (1 + 0.08 * deep * beat)
        wave = voiced(rng, pitch, partials=20, fall=rng.uniform(0.0, 1.4),
                      breath=rng.uniform(0.03, 0.8), formants=int(rng.integers(0, 3)))  # fmt: skip
        return wave * (1 + deep * beat) * arc(length, 0.1, 0.3)

    return row(rng, samples, one, (0.02, rng.uniform(0.1, 1.2)))
