"""Buffers that are used again frame after frame, so that none of a frame's size is allocated."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ROOM = 1.125  # sweeps differ in length from turn to turn


class Scratch:
    """Arrays by name. One thread, one frame at a time: the next frame overwrites them."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        """Return an array as `numpy.empty` does, valid until the same name is asked for again."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < size or kept.dtype != dtype:
            room = size if kept is None else int(size * _ROOM)
            kept = self._kept[name] = np.empty(room, dtype)
        return kept[:size].reshape(shape)
