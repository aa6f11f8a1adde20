"""Whether tensors hold numbers only: exact, every value, without a copy."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.native import library

# By size of an IEEE 754 value: its integer types, and the bits of +Inf and -Inf. isfinite() takes
# 40 times as long for half precision, which processors compute with by converting each value.
_BITS = {
    2: (np.int16, np.uint16, 0x7C00, 0xFC00),
    4: (np.int32, np.uint32, 0x7F80_0000, 0xFF80_0000),
}
_QUICK_BYTES = 2_000_000  # looked at in less time than coming back to Python may take


def all_finite(values: NDArray) -> bool:
    """Whether no value is NaN or Inf; True for integers and for an empty array."""
    if values.dtype.kind != "f" or not values.size:
        return True
    if values.itemsize not in _BITS or not values.dtype.isnative:
        return bool(np.isfinite(values).all())
    compiled = library()
    if compiled is None or not values.flags.c_contiguous:
        return all_finite_numpy(values)
    call = (compiled.held if values.nbytes <= _QUICK_BYTES else compiled.released).ep_all_finite
    at, count = ctypes.c_void_p(values.ctypes.data), ctypes.c_int64(values.size)
    return bool(call(at, count, ctypes.c_int64(values.itemsize)))


def all_finite_numpy(values: NDArray) -> bool:
    """Return the same of values of 2 or 4 bytes, by NumPy alone.

    Read as signed integers all positive values lie below +Inf, and NaN above it; read as unsigned
    ones all negative values lie below -Inf, and NaN above it.
    """
    signed, unsigned, plus_inf, minus_inf = _BITS[values.itemsize]
    return bool(values.view(signed).max() < plus_inf and values.view(unsigned).max() < minus_inf)
