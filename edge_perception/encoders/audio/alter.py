"""What-if of a replay: the same sound from a noisy microphone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


def with_noise(message: Any, _fog: float, noise: float, rng: np.random.Generator) -> Any:
    """Return a chunk with white noise, a share of full scale; sound passes through fog."""
    if not noise:
        return message
    raw = np.asarray(message.data, np.uint8).tobytes()
    is_int = message.format == "s16le"
    samples: NDArray = np.frombuffer(raw, "<i2" if is_int else "<f4").astype(np.float64)
    full = 32767.0 if is_int else 1.0
    noisy = samples + rng.normal(0.0, noise * full, samples.shape)
    stored = np.clip(noisy, -full, full).astype("<i2" if is_int else "<f4")
    return replace(message, data=np.frombuffer(stored.tobytes(), np.uint8))
