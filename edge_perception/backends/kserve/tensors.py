"""Names of data types in the Open Inference Protocol v2, and raw little-endian tensors.

https://github.com/kserve/open-inference-protocol, "Tensor Data Types"
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import BackendError

DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def raw(array: NDArray) -> bytes:
    """Return a tensor's bytes, row by row, little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def from_raw(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> NDArray:
    """Return a tensor of its bytes, writable and the caller's own.

    Raises:
        BackendError: the type is not known, or the bytes are not as many as the shape needs.
    """
    dtype = np.dtype(dtype_of(name, datatype))
    expected = math.prod(shape) * dtype.itemsize
    if any(size < 0 for size in shape) or len(data) != expected:
        raise BackendError(
            f"output '{name}': {datatype} {tuple(shape)} expects {expected} bytes, got {len(data)}"
        )
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=True)


def dtype_of(name: str, datatype: str) -> str:
    """Return the NumPy name of a protocol data type.

    Raises:
        BackendError: it is not known; BYTES is no tensor of numbers.
    """
    if datatype not in DTYPES:
        raise BackendError(f"tensor '{name}': expected one of {', '.join(DTYPES)}, got {datatype}")
    return DTYPES[datatype]
