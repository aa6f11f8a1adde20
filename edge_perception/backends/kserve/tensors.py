"""Names of data types in the Open Inference Protocol v2, and raw little-endian tensors.

https://github.com/kserve/open-inference-protocol, "Tensor Data Types"
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
# Where numbers of a type are in a message that does not have them raw; FP16 is never there.
LISTED_IN = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


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


def from_listed(name: str, datatype: str, shape: Sequence[int], contents: Any) -> NDArray:
    """Return a tensor of the numbers in a message (InferTensorContents).

    Raises:
        BackendError: the type is not known or never listed, a number does not fit it, or they are
            not as many as the shape needs.
    """
    dtype, field = np.dtype(dtype_of(name, datatype)), LISTED_IN.get(datatype)
    if field is None:
        raise BackendError(f"output '{name}': {datatype} expects raw contents, got none")
    numbers = getattr(contents, field)
    if any(size < 0 for size in shape) or len(numbers) != math.prod(shape):
        raise BackendError(
            f"output '{name}': {datatype} {tuple(shape)} expects raw contents, or "
            f"{math.prod(shape)} numbers in {field}; got {len(numbers)}"
        )
    if dtype.kind in "iu" and len(numbers):  # small ones lie in a larger type
        limits = np.iinfo(dtype)
        outside = [n for n in (min(numbers), max(numbers)) if not limits.min <= n <= limits.max]
        if outside:
            raise BackendError(f"output '{name}': {outside[0]} is no {datatype}")
    return np.array(numbers, dtype).reshape(shape)


def dtype_of(name: str, datatype: str) -> str:
    """Return the NumPy name of a protocol data type.

    Raises:
        BackendError: it is not known; BYTES is no tensor of numbers.
    """
    if datatype not in DTYPES:
        raise BackendError(f"tensor '{name}': expected one of {', '.join(DTYPES)}, got {datatype}")
    return DTYPES[datatype]
