"""Bytes of G.711 (µ-law, A-law) where linear samples of 8 bits are said to be.

Sound of telephones and of IP cameras is coded so, and whoever hands its bytes on calls them U8. As
linear samples they are loud noise: each change of sign is a jump. Read by the right table they are
smooth, and linear sound is rough by it; so blocks decide, as of the order of bytes.

Source: ITU-T G.711.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMOOTHER = 0.5  # as rough as that, or less, than the samples as they are told
_TELLING = 10  # blocks in a row
_LEAST = 64  # samples of a block that tells
_LEVELS = 4  # fewer different bytes are silence
_FULL_SCALE = 32768.0


def _mu_law() -> NDArray[np.float32]:
    code = ~np.arange(256, dtype=np.int64) & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -size, size) / _FULL_SCALE).astype(np.float32)


def _a_law() -> NDArray[np.float32]:
    code = np.arange(256, dtype=np.int64) ^ 0x55
    segment = (code & 0x70) >> 4
    size = ((code & 0x0F) << 4) + np.where(segment, 0x108, 8) << np.maximum(segment - 1, 0)
    return (np.where(code & 0x80, size, -size) / _FULL_SCALE).astype(np.float32)


_TABLES = {"µ-law": _mu_law(), "A-law": _a_law()}


class Companding:
    """By which law the bytes of one source are sound; by none: they are linear."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._seen = ""
        self.law = ""

    @property
    def note(self) -> str:
        """What is to be said of the samples; empty: nothing."""
        return f"the samples of 8 bits are sound as {self.law} (G.711)" if self.law else ""

    def see(self, stored: NDArray, channels: int) -> NDArray[np.float32] | None:
        """Look at a block of samples of 8 bits, all channels in turn.

        Returns:
            The samples by the law, full scale 1.0; None: they are linear.
        """
        codes = stored.view(np.uint8)
        found = "" if self.law else _law_of(stored[::channels])
        if found and found == self._seen:
            self._in_a_row += 1
        elif not self.law:
            self._in_a_row = 1 if found else 0
        self._seen = found
        if found and self._in_a_row >= _TELLING:
            self.law = found
        return _TABLES[self.law][codes] if self.law else None


def _law_of(stored: NDArray) -> str:
    """Return by which law a block of one channel is much smoother than as it is; "": by none."""
    codes = stored.view(np.uint8)
    if len(codes) < _LEAST or len(np.unique(codes)) < _LEVELS:
        return ""
    rough = {law: _roughness(table[codes]) for law, table in _TABLES.items()}
    law = min(rough, key=lambda name: rough[name])
    return law if rough[law] < _SMOOTHER * _roughness(stored) else ""


def _roughness(samples: NDArray) -> float:
    """Return the share of the variance that lies between neighbours; of white noise 1."""
    values = samples.astype(np.float64)
    return 0.5 * float(np.mean(np.diff(values) ** 2)) / max(float(values.var()), 1e-12)
