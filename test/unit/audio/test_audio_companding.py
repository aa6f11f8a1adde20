"""Bytes of G.711 that are said to be linear samples of 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from audio_messages import audio_data_stamped, audio_info

from edge_perception.encoders.audio.foreign import MessageConverter

RATE_HZ, BLOCK = 8000, 160


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Encode by ITU-T G.711: 14 bits, a bias of 33, the segment by the highest bit."""
    whole = np.rint(samples * 8158).astype(int)
    size = np.minimum(np.abs(whole) + 33, 0x1FFF)
    segment = np.floor(np.log2(size)).astype(int) - 5
    code = segment << 4 | (size >> segment + 1 & 0x0F)
    return (~(np.where(whole < 0, 0x80, 0) | code) & 0xFF).astype(np.uint8)


def a_law(samples: np.ndarray) -> np.ndarray:
    """Encode by ITU-T G.711: 13 bits, even bits turned round."""
    whole = np.rint(samples * 4095).astype(int)
    size = np.abs(whole)
    segment = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(int) - 4, 0)
    code = segment << 4 | (size >> np.maximum(segment, 1) & 0x0F)
    return ((np.where(whole >= 0, 0x80, 0) | code) ^ 0x55).astype(np.uint8)


def linear(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 127) + 128, 0, 255).astype(np.uint8)


def street(level: float, seconds: float = 1.0) -> np.ndarray:
    """A hum, a voice and wind: most of it low, some of it noise."""
    rng = np.random.default_rng(2)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wind = np.convolve(rng.normal(0, 1, len(time_s)), np.ones(24) / 24, "same")
    voice = np.sin(2 * np.pi * 210 * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s))
    return level * (0.3 * np.sin(2 * np.pi * 60 * time_s) + 0.3 * voice + 0.5 * wind)


def heard(samples: np.ndarray, code: Callable[[np.ndarray], np.ndarray], name: str) -> list:
    converter = MessageConverter()
    converter.convert(audio_info(sample_rate=RATE_HZ, sample_format=name))
    cut = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    data = [code(block).tobytes() for block in cut]
    step_ns = BLOCK * 10**9 // RATE_HZ
    messages = [audio_data_stamped(d, 10**9 + k * step_ns) for k, d in enumerate(data)]
    return [converter.convert(message) for message in messages]


@pytest.mark.parametrize("level", [0.02, 0.2, 0.6])
@pytest.mark.parametrize(("code", "law"), [(mu_law, "µ-law"), (a_law, "A-law")])
def test_companded_sound_is_read_by_its_law_and_said(
    level: float, code: Callable[[np.ndarray], np.ndarray], law: str
) -> None:
    sound = street(level)
    blocks = heard(sound, code, "U8")
    assert blocks[0].notes == ()
    last = blocks[-1]
    assert last.notes == (f"the samples of 8 bits are sound as {law} (G.711)",)
    wanted = sound[-BLOCK:]
    assert last.samples[:, 0] == pytest.approx(wanted, abs=0.05 * np.abs(sound).max())


@pytest.mark.parametrize(
    "sound",
    [
        *(street(level) for level in (0.02, 0.1, 0.5, 1.5)),  # the last is clipped
        np.random.default_rng(1).normal(0, 0.1, RATE_HZ),
        0.3 * np.sin(np.arange(RATE_HZ) * 2 * np.pi * 440 / RATE_HZ),
        0.3 * np.sin(np.arange(RATE_HZ) * 2 * np.pi * 3500 / RATE_HZ),
        np.zeros(RATE_HZ),
    ],
    ids=("quiet", "street", "loud", "clipped", "hiss", "tone", "high tone", "silence"),
)
def test_linear_sound_stays_linear(sound: np.ndarray) -> None:
    blocks = heard(sound, linear, "U8")
    assert all(block.notes == () for block in blocks)
    wanted = np.clip(sound[-BLOCK:], -1.008, 1.0)
    assert blocks[-1].samples[:, 0] == pytest.approx(wanted, abs=0.01)
