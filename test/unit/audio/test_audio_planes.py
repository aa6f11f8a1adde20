"""Channels that lie one after the other in messages that say that they come in turn."""

from __future__ import annotations

import numpy as np
import pytest
from audio_messages import chunk, header

from edge_perception.encoders.audio.foreign import MessageConverter
from edge_perception.encoders.audio.planes import NOTE

RATE_HZ, BLOCK, BLOCKS = 16_000, 1600, 40


def sounds(delay: float, channels: int = 2, kind: str = "street") -> np.ndarray:
    """(N, C): a source that reaches the microphones one after the other, samples apart."""
    rng = np.random.default_rng(3)
    count = BLOCK * BLOCKS
    at = np.arange(count)[:, None] - delay * np.arange(channels)
    if kind == "tone":
        return 0.3 * np.sin(2 * np.pi * 437 / RATE_HZ * at)
    if kind == "hiss":
        return rng.normal(0, 0.1, (count, channels))
    noise = np.convolve(rng.normal(0, 1, count + 200), np.hanning(41) / 20, "same")
    heard = np.interp(at, np.arange(-100, count + 100), noise)
    own = np.convolve(rng.normal(0, 0.02, count), np.ones(8) / 8, "same")
    return 0.1 * heard + own[:, None] * np.array([1.0] + [0.0] * (channels - 1))


def blocks_of(sound: np.ndarray, *, planes: bool) -> list:
    converter, found = MessageConverter(), []
    for k in range(BLOCKS):
        block = np.rint(sound[k * BLOCK : (k + 1) * BLOCK] * 32767).astype("<i2")
        data = np.ascontiguousarray(block.T if planes else block).tobytes()
        message = chunk(
            data,
            header=header(10**9 + k * BLOCK * 10**9 // RATE_HZ),
            sample_rate=RATE_HZ,
            channels=sound.shape[1],
            first_sample_index=k * BLOCK,
        )
        found.append(converter.convert(message))
    return found


@pytest.mark.parametrize(("kind", "channels"), [("street", 2), ("street", 4), ("tone", 2)])
def test_planes_are_read_as_such_and_said(kind: str, channels: int) -> None:
    sound = sounds(1.0, channels, kind)
    if kind == "tone":
        sound += sounds(0.0, channels, "street")
    blocks = blocks_of(sound, planes=True)
    assert blocks[0].notes == ()
    assert blocks[-1].notes == (NOTE,)
    assert blocks[-1].samples == pytest.approx(sound[-BLOCK:], abs=1e-4)


@pytest.mark.parametrize("kind", ["street", "tone", "hiss"])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("channels", [2, 4, 8])
def test_channels_in_turn_stay_so(kind: str, delay: float, channels: int) -> None:
    blocks = blocks_of(sounds(delay, channels, kind), planes=False)
    assert all(block.notes == () for block in blocks)
