"""Blocks of an archive that stood in an older one and moved a little: where, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 18  # bytes; a plane of it fills half a block of zstd's
WIDTHS = (1, 2, 4)  # bytes of a number
_STEP = 1 << 14  # bytes that are looked at together
_KEY, _EVERY = 8, 8  # bytes of what is the same in both, and how closely it is looked for
_MOST_KEYS, _MOST_ASKED, _ASKED = 1 << 22, 1 << 24, 1 << 20
_ALIKE = 1 / 16  # of the bytes are the same; by chance 1 in 256 is
_MOST_SHIFTS = 64
_WORTH = 0.95  # of what the block would cost alone
_DTYPES: dict[int, type[np.unsignedinteger]] = {1: np.uint8, 2: np.uint16, 4: np.uint32}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of the new archive that is told as differences from a part of the base."""

    at: int
    base: int
    size: int
    width: int
    phase: int  # bytes before the first number: files in an archive begin anywhere

    @property
    def numbers(self) -> slice:
        """The bytes that are whole numbers."""
        return slice(self.phase, self.phase + (self.size - self.phase) // self.width * self.width)


def plan_blocks(old: bytes, new: bytes) -> list[Block]:
    """Return the blocks that cost less as differences, in their order."""
    found: list[Block] = []
    shifts = _shifts(old, new)
    for at in range(0, len(new), _STEP):
        best = _best(old, new, at, min(_STEP, len(new) - at), shifts)
        if best is None:
            continue
        last = found[-1] if found else None
        if last is not None and _goes_on(last, best):
            found[-1] = replace(last, size=last.size + best.size)
        else:
            found.append(best)
    return found


def _goes_on(last: Block, block: Block) -> bool:
    """Whether two blocks are one. Steps are whole numbers of every width."""
    return (
        last.at + last.size == block.at
        and last.base + last.size == block.base
        and (last.width, last.phase) == (block.width, block.phase)
        and last.size + block.size <= BLOCK
    )


def _shifts(old: bytes, new: bytes) -> list[int]:
    """Return how far parts moved, by what is the same in both; the most frequent first."""
    counts: Counter[int] = Counter({0: 1})
    if min(len(old), len(new)) < _KEY:
        return [0]
    every = max(_EVERY, len(old) // _MOST_KEYS)
    keys, places, times = np.unique(_keys(old, every), return_index=True, return_counts=True)
    keys, places = keys[times == 1], places[times == 1] * every  # others tell no place
    step = max(1, len(new) // _MOST_ASKED) if len(keys) else len(new)
    asked = _keys(new, 1)
    for begin in range(0, len(asked) if len(keys) else 0, _ASKED * step):
        part = asked[begin : begin + _ASKED]
        index = np.minimum(np.searchsorted(keys, part), len(keys) - 1)
        hits = np.flatnonzero(keys[index] == part)
        values, number = np.unique(places[index[hits]] - (hits + begin), return_counts=True)
        counts.update(dict(zip(values.tolist(), number.tolist(), strict=True)))
    return [shift for shift, _ in counts.most_common(_MOST_SHIFTS)]


def _keys(data: bytes, every: int) -> NDArray[np.uint64]:
    count = (len(data) - _KEY) // every + 1
    return np.ndarray(shape=(count,), dtype="<u8", buffer=data, strides=(every,))


def _best(old: bytes, new: bytes, at: int, size: int, shifts: list[int]) -> Block | None:
    """Return how a part costs least as differences; None: it is better told alone."""
    part = np.frombuffer(new, np.uint8, size, at)
    least = _WORTH * min(_cost(part, width) for width in WIDTHS)
    best: Block | None = None
    for shift in shifts:
        base = at + shift
        if base < 0 or base + size > len(old):
            continue
        before = np.frombuffer(old, np.uint8, size, base)
        if not (part == before).mean() > _ALIKE:
            continue
        for width in WIDTHS:
            for phase in range(min(width, size)):
                block = Block(at=at, base=base, size=size, width=width, phase=phase)
                cost = _cost(_differences(part, before, block)[phase:], width)
                if cost < least:
                    least, best = cost, block
    return best


def _cost(data: NDArray[np.uint8], width: int) -> float:
    """Return the bytes that an entropy coder would need for each plane by itself."""
    total = 0.0
    for plane in range(width):
        counts = np.bincount(data[plane::width], minlength=256)
        shares = counts[counts > 0] / max(counts.sum(), 1)
        total -= float((shares * np.log2(shares)).sum()) * float(counts.sum()) / 8.0
    return total


def _differences(new: NDArray[np.uint8], old: NDArray[np.uint8], block: Block) -> NDArray[np.uint8]:
    """Return differences of numbers, small ones of either sign as small ones; the rest as it is."""
    dtype, made, numbers = _DTYPES[block.width], new.copy(), block.numbers
    step = new[numbers].copy().view(dtype) - old[numbers].copy().view(dtype)
    sign = dtype(0) - (step >> dtype(8 * block.width - 1))
    made[numbers] = ((step << dtype(1)) ^ sign).view(np.uint8)
    return made


def residual(old: bytes, new: bytes, block: Block) -> bytes:
    """Return what is told of a block: differences, by plane."""
    part = np.frombuffer(new, np.uint8, block.size, block.at)
    before = np.frombuffer(old, np.uint8, block.size, block.base)
    made = _differences(part, before, block)
    made[block.numbers] = made[block.numbers].reshape(-1, block.width).T.reshape(-1)
    return made.tobytes()


def from_residual(old: bytes, told: bytes, block: Block) -> bytes:
    """Return a block of the new archive from what was told of it."""
    dtype, numbers = _DTYPES[block.width], block.numbers
    made = np.frombuffer(told, np.uint8).copy()
    before = np.frombuffer(old, np.uint8, block.size, block.base)[numbers].copy().view(dtype)
    code = made[numbers].reshape(block.width, -1).T.copy().reshape(-1).view(dtype)
    step = (code >> dtype(1)) ^ (dtype(0) - (code & dtype(1)))
    made[numbers] = (before + step).view(np.uint8)
    return made.tobytes()


def planes(data: bytes, *, back: bool = False) -> bytes:
    """Return data with the bytes of each block sorted by plane of 4, or `back` as they were."""
    made = bytearray(len(data))
    for begin, block in _parts(data):
        whole = block.size // 4 * 4
        shape = (4, -1) if back else (-1, 4)
        made[begin : begin + whole] = block[:whole].reshape(shape).T.tobytes()
        made[begin + whole : begin + block.size] = block[whole:].tobytes()
    return bytes(made)


def _parts(data: bytes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    view = np.frombuffer(data, np.uint8)
    for begin in range(0, len(data), BLOCK):
        yield begin, view[begin : begin + BLOCK]
