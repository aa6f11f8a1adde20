"""What a graph does with the numbers of its picture before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PASSED = (
    "Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "QuantizeLinear",
    "DequantizeLinear", "Pad", "Resize",
)  # fmt: skip
_SAME_VALUES = ("Cast", "CastLike", "Identity", "Squeeze", "Unsqueeze", "Reshape")  # of constants
# Means of ImageNet's pixels, red first: of torchvision, and of Caffe. They tell the order of
# colours, as a picture has more red than blue in them.
_RED_FIRST = ((123.675, 116.28, 103.53), (122.7717, 115.9465, 102.9801))
_WITHIN = 0.02  # of a mean
_TURNED = [2, 1, 0]
_MOST = 9  # numbers of a constant: a step may mix three colours


@dataclass(frozen=True, kw_only=True)
class Front:
    """The first steps: x * gain + bias, and perhaps the colours in the other order."""

    gain: NDArray[np.float64]  # (3,), in the order of the input
    bias: NDArray[np.float64]  # (3,)
    turned: bool = False  # the order of colours is turned round

    def order(self) -> str:
        """Return the order of the input's colours, rgb or bgr, where means tell; else ""."""
        if not self.bias.all() or not self.gain.all():
            return ""
        means = -self.bias / self.gain
        for known in _RED_FIRST:
            for scale in (1.0, 1 / 255):
                for order, values in (("rgb", known), ("bgr", known[::-1])):
                    if np.allclose(means, np.array(values) * scale, rtol=_WITHIN):
                        return order
        return ""


def front_of(model: Any, image: str) -> Front:
    """Follow a picture from the input up to the first node that is no sum or product of it."""
    constants = _constants(model)
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        if node.op_type != "Shape":  # sizes are looked at beside
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
    gain, bias, turned, name = np.ones(3), np.zeros(3), False, image
    while len(readers.get(name, ())) == 1:
        (node,) = readers[name]
        joined = _joined(node, readers)
        if joined is not None:
            name, turns = joined
            turned ^= turns
            continue
        if _turns(node, constants):
            turned = not turned
        elif node.op_type not in _PASSED:
            step, turns = _step(node, name, constants), False
            if node.op_type == "Conv":
                step, turns = _of_points(node, constants)
            if step is None:
                break
            turned ^= turns  # by the weights, before what is added
            times, plus = (value[::-1] if turned else value for value in step)
            gain, bias = gain * times, bias * times + plus
        name = node.output[0]
    return Front(gain=gain, bias=bias, turned=turned)


def _step(
    node: Any, name: str, constants: Mapping[str, NDArray]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return by what a node multiplies and what it adds, (3,) each; None: it does another thing."""
    if node.op_type == "BatchNormalization":
        return _of_statistics(node, constants)
    other = [constants.get(item) for item in node.input if item != name]
    value = other[0] if len(other) == 1 else None
    if value is None or value.size not in (1, 3):
        return None
    value = np.broadcast_to(value.reshape(-1).astype(np.float64), 3)
    one, none = np.ones(3), np.zeros(3)
    if node.op_type == "Mul":
        return value, none
    if node.op_type == "Add":
        return one, value
    if node.input[0] != name:  # a constant less the picture
        return None
    if node.op_type == "Sub":
        return one, -value
    return (1 / value, none) if node.op_type == "Div" and value.all() else None


def _of_statistics(
    node: Any, constants: Mapping[str, NDArray]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return what a batch normalisation of the picture itself does, as networks of MXNet begin."""
    found = [constants.get(item) for item in node.input[1:5]]
    values = [np.asarray(v, np.float64).reshape(-1) for v in found if v is not None and v.size == 3]
    if len(values) != 4:
        return None
    scale, bias, mean, variance = values
    least = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    gain = scale / np.sqrt(variance + least)
    return gain, bias - mean * gain


def _of_points(
    node: Any, constants: Mapping[str, NDArray]
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]] | None, bool]:
    """Return what a convolution of single pixels that keeps colours apart does, and if it turns.

    Networks for NPUs have their normalisation so: a weight a colour, (3, 1, 1, 1) of three groups,
    or (3, 3, 1, 1) with one number other than zero in each row.
    """
    weights = constants.get(node.input[1])
    bias = constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(3)
    if weights is None or bias is None or bias.size != 3 or weights.shape[2:] != (1, 1):
        return None, False
    told = {item.name: list(item.ints) for item in node.attribute}
    if set(told.get("strides", [1])) != {1} or any(told.get("pads", [])):
        return None, False
    plus = bias.reshape(-1).astype(np.float64)
    if weights.shape[:2] == (3, 1):
        return (weights.reshape(3).astype(np.float64), plus), False
    if weights.shape[:2] != (3, 3):
        return None, False
    mixed = weights.reshape(3, 3).astype(np.float64)
    for turns in (False, True):
        own = mixed[:, ::-1] if turns else mixed
        if np.diag(own).all() and np.count_nonzero(own) == 3:
            return (np.diag(own), plus), turns
    return None, False


def _turns(node: Any, constants: Mapping[str, NDArray]) -> bool:
    """Whether a node turns the order of colours: by their numbers, or by a step backwards."""
    if node.op_type == "Gather" and len(node.input) == 2:
        index = constants.get(node.input[1])
        return index is not None and index.reshape(-1).tolist() == _TURNED
    if node.op_type != "Slice" or len(node.input) != 5:
        return False
    axes, steps = (constants.get(item) for item in node.input[3:])
    # Of channels first or last; a picture is not turned on its head.
    return (
        axes is not None
        and steps is not None
        and axes.reshape(-1).tolist() in ([1], [3], [-1], [-3])
        and steps.reshape(-1).tolist() == [-1]
    )


def _joined(node: Any, readers: Mapping[str, list[Any]]) -> tuple[str, bool] | None:
    """Follow a split into three colours that are joined again: where, and whether turned."""
    if node.op_type != "Split" or len(node.output) != 3:
        return None
    after = [readers.get(name, []) for name in node.output]
    if any(len(found) != 1 or found[0] is not after[0][0] for found in after):
        return None
    last, names = after[0][0], list(node.output)
    if last.op_type != "Concat" or list(last.input) not in (names, names[::-1]):
        return None
    return str(last.output[0]), list(last.input) != names


def _constants(model: Any) -> dict[str, NDArray]:
    """Return the small constants of a graph by name."""
    import onnx

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, NDArray] = {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if int(np.prod(tensor.dims)) <= _MOST and tensor.data_location != onnx.TensorProto.EXTERNAL
    }
    for node in model.graph.node:  # in the order of computation
        if node.op_type == "Constant":
            value = _value_of(node)
        elif node.op_type in _SAME_VALUES and node.input[0] in found:
            value = found[node.input[0]]
        else:
            continue
        if value is not None and value.size <= _MOST:
            found[node.output[0]] = value
    return found


def _value_of(node: Any) -> NDArray | None:
    """Return the numbers of a Constant, however they are written; None: they are none."""
    import onnx

    for item in node.attribute:
        if item.name == "value" and item.t.data_location != onnx.TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(item.t)
        if item.name in ("value_float", "value_int", "value_floats", "value_ints"):
            return np.asarray(onnx.helper.get_attribute_value(item))
    return None
