"""Arrays and Tensor messages."""

from __future__ import annotations

from array import array
from math import prod
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from edge_perception import msg
from edge_perception.core.bounds import clipped
from edge_perception.core.errors import InvalidFrameError

# Bounds of what the network may make us hold.
_MOST_DIMENSIONS, _MOST_VALUES = 8, 2**28
_DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64")
_SHOWN = 40  # characters of a foreign name in a text


def tensor_msg(name: str, values: NDArray) -> msg.Tensor:
    """Return an array as a message; it is copied once."""
    record = tensor_record(name, values)
    data = array("B")
    data.frombytes(record.data)
    return msg.Tensor(name=name, dtype=record.dtype, shape=record.shape, data=data)


def tensor_record(name: str, values: NDArray) -> SimpleNamespace:
    """Return what a Tensor message has, its data a view of the array."""
    contiguous = np.ascontiguousarray(values)
    if contiguous.dtype.byteorder == ">":
        contiguous = contiguous.astype(contiguous.dtype.newbyteorder("<"))
    return SimpleNamespace(
        name=name,
        dtype=contiguous.dtype.name,
        shape=list(contiguous.shape),
        data=contiguous.view(np.uint8).reshape(-1).data if contiguous.size else b"",
    )


def tensor_from_msg(tensor: msg.Tensor) -> NDArray:
    """Return a read-only view of the message's data.

    Raises:
        InvalidFrameError: unknown dtype, or the data's length does not fit the shape.
    """
    name = clipped(tensor.name, _SHOWN)
    if tensor.dtype not in _DTYPES:
        raise InvalidFrameError(
            f"tensor '{name}': expected a dtype of {', '.join(_DTYPES)}, "
            f"got '{clipped(tensor.dtype, _SHOWN)}'"
        )
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    shape = tuple(map(int, tensor.shape))
    expected = prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise InvalidFrameError(
            f"tensor '{name}': shape {shape} {tensor.dtype} expects "
            f"{expected} bytes, got {len(tensor.data)}"
        )
    # A zero among the dimensions lets the others claim anything.
    if len(shape) > _MOST_DIMENSIONS or prod(max(n, 1) for n in shape) > _MOST_VALUES:
        raise InvalidFrameError(
            f"tensor '{name}': expected at most {_MOST_DIMENSIONS} dimensions and "
            f"{_MOST_VALUES} values, got {shape[:_MOST_DIMENSIONS]}"
        )
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape)
