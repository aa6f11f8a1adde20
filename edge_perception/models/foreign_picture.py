"""The picture that a foreign graph takes: which input it is, of what size, in what form."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ModelError
from edge_perception.models.graph import input_names, tensor_shapes
from edge_perception.models.graph_wrapping import constant_input, pin_shape, wrap_image_input

_LONGEST_METADATA = 1 << 20
_SHORTEST = 8  # px
# onnx.TensorProto.DataType of pictures that a Cast at the edge makes of float32.
_TYPES = {1: "float32", 2: "uint8", 10: "float16", 11: "float64", 16: "bfloat16"}
_LAYOUTS = {(1, 2, 3): "NCHW", (3, 1, 2): "NHWC", (0, 1, 2): "CHW", (2, 0, 1): "HWC"}


def parsed(text: str, where: str) -> Any:
    """Read JSON, or a literal of Python as exporters write it into metadata.

    Raises:
        ModelError: it is neither.
    """
    if len(text) > _LONGEST_METADATA:
        raise ModelError(f"{where}: expected at most {_LONGEST_METADATA} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ModelError(f"{where}: expected JSON or a list, got {text[:60]!r}") from None


def image_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return which axes are channels, height and width of an image; None: it is none."""
    if len(shape) == 4 and shape[1] == 3:
        return (1, 2, 3)
    if len(shape) == 4 and shape[3] == 3:
        return (3, 1, 2)
    if len(shape) == 3 and shape[0] == 3:
        return (0, 1, 2)
    if len(shape) == 3 and shape[2] == 3 and all(n == -1 or n >= _SHORTEST for n in shape[:2]):
        return (2, 0, 1)  # points, (1, N, 3), are none
    # Exporters leave all axes free; four of them are still a picture.
    return (1, 2, 3) if len(shape) == 4 and set(shape[1:]) == {-1} else None


def picture_size(
    path: Path,
    shape: tuple[int, ...],
    metadata: Mapping[str, str],
    said: Mapping[str, Any],
    reasons: dict[str, str],
    usual: tuple[tuple[int, int], str] | None = None,
) -> tuple[int, int]:
    """Return width and height of the picture: said, of the graph, of its metadata, or the usual.

    Raises:
        ModelError: nothing tells, or what is said is not what the graph has.
    """
    axes = image_axes(shape)
    assert axes is not None
    height, width = shape[axes[1]], shape[axes[2]]
    if width > 0 and height > 0:  # runs on it follow: it must be a picture's
        _pair((width, height), f"{path.name}: shape of the input")
    if "size" in said:
        size = _pair(said["size"], "size")
        if any(have not in (-1, want) for have, want in zip((width, height), size, strict=True)):
            raise ModelError(
                f"{path.name}: size={size[0]}x{size[1]}: the graph has {width}x{height}"
            )
        reasons["size"] = "said"
        return size
    if width > 0 and height > 0:
        reasons["size"] = _of_shape(path, (width, height), metadata)
        return (width, height)
    if "imgsz" in metadata:
        reasons["size"] = "'imgsz' of the metadata; the graph leaves it free"
        return _of_metadata(path, metadata)
    if usual is not None:
        reasons["size"] = f"{usual[1]}; the graph leaves it free"
        return _pair(usual[0], usual[1])
    raise ModelError(
        f"{path.name}: the graph takes images of any size and its metadata name none: "
        "give --assume size=WIDTHxHEIGHT"
    )


def _of_metadata(path: Path, metadata: Mapping[str, str]) -> tuple[int, int]:
    value = parsed(metadata["imgsz"], f"{path.name}: metadata 'imgsz'")
    sides = value if isinstance(value, list | tuple) and value else [value]
    # It is height, width.
    return _pair([sides[-1], sides[0]], f"{path.name}: metadata 'imgsz'")


def _of_shape(path: Path, size: tuple[int, int], metadata: Mapping[str, str]) -> str:
    """Return where a fixed size comes from, and what of it may not be meant.

    The graph runs with that size alone, so that what else is said changes nothing.
    """
    why = "shape of the input"
    if size[1] > size[0]:
        why += ", which is higher than wide: pictures of a road are wide"
    try:
        told = _of_metadata(path, metadata) if "imgsz" in metadata else size
    except ModelError:
        return f"{why}; 'imgsz' of the metadata is no size"
    if told != size:
        why += f"; 'imgsz' of the metadata is {told[0]}x{told[1]} (width x height)"
    return why


def _pair(value: Any, what: str) -> tuple[int, int]:
    parts = value.lower().split("x") if isinstance(value, str) else value
    try:
        width, height = (int(part) for part in parts)
    except (TypeError, ValueError, OverflowError):  # Infinity is a number of JSON's readers
        raise ModelError(f"{what}: expected WIDTHxHEIGHT, got {value!r}") from None
    if not (8 <= width <= 8192 and 8 <= height <= 8192):
        raise ModelError(f"{what}: expected 8 to 8192 px, got {width}x{height}")
    return width, height


def fix_inputs(
    path: Path,
    model: Any,
    image: str,
    kind: int,
    size: tuple[int, int],
    said: Mapping[str, Any],
    reasons: dict[str, str],
) -> None:
    """Make the picture the only input: float32 (1, 3, H, W); the others become constants.

    Raises:
        ModelError: its type is none of a picture, or another input is not known.
    """
    shapes = tensor_shapes(model)
    width, height = size
    axes = image_axes(shapes[image])
    assert axes is not None
    fixed = [1] * len(shapes[image])
    for axis, value in zip(axes, (3, height, width), strict=True):
        fixed[axis] = value
    if kind not in _TYPES:
        import onnx

        got = onnx.TensorProto.DataType.Name(kind).lower()
        raise ModelError(
            f"{path.name}: input '{image}': expected {', '.join(_TYPES.values())}, got {got}, "
            "whose scale and zero are not in the graph: export it with an input of float32 or uint8"
        )
    reasons["layout"] = _LAYOUTS[axes]
    reasons["input_type"] = _TYPES[kind]
    if -1 in shapes[image]:
        reasons["free_axes"] = f"pinned to {tuple(fixed)}"
    elif len(fixed) == 4 and shapes[image][0] != 1:
        reasons["batch"] = f"1, the file has {shapes[image][0]}"
    pin_shape(model, image, tuple(fixed))
    wrap_image_input(model, image, axes=axes, kind=kind, size=size)
    for name in input_names(model):
        if name != image:
            constant = _constant(path, name, shapes[name], size, said)
            _make_constant(model, name, constant, said)
            reasons[f"input.{name}"] = f"constant {np.unique(constant).tolist()[:4]}"


def said_inputs(
    path: Path, model: Any, said: Mapping[str, Any], reasons: dict[str, str]
) -> list[str]:
    """Make constants of the inputs that are said; return the others.

    Raises:
        ModelError: what is said is no number.
    """
    shapes = tensor_shapes(model)
    for name in input_names(model):
        if f"input.{name}" in said:
            constant = _constant(path, name, shapes[name], (1, 1), said)
            _make_constant(model, name, constant, said)
            reasons[f"input.{name}"] = "constant, said"
    return input_names(model)


def _make_constant(model: Any, name: str, value: NDArray, said: Mapping[str, Any]) -> None:
    """Put a value in the place of an input.

    Raises:
        ModelError: the input cannot hold what is said.
    """
    shape = tensor_shapes(model)[name]
    kind = next(given.type.tensor_type for given in model.graph.input if given.name == name)
    fits = len(shape) == value.ndim and all(
        have in (-1, want) for have, want in zip(shape, value.shape, strict=True)
    )
    if f"input.{name}" in said and kind.HasField("shape") and not fits:
        raise ModelError(
            f"--assume input.{name}: expected numbers of shape {shape}, -1 for any length, or one "
            f"for all, got {value.shape}"
        )
    if not constant_input(model, name, value):
        raise ModelError(
            f"--assume input.{name}: expected numbers of the input's type, got "
            f"{np.unique(value).tolist()[:4]}"
        )


def _whole(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...]:
    """Return a shape without free axes: of a picture those of the other picture, else 1."""
    axes = image_axes(shape)
    wanted = dict(zip(axes, (3, size[1], size[0]), strict=True)) if axes else {}
    return tuple(n if n > 0 else wanted.get(axis, 1) for axis, n in enumerate(shape))


def _constant(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    size: tuple[int, int],
    said: Mapping[str, Any],
) -> NDArray:
    """Return the value of an input that is no picture."""
    width, height = size
    if f"input.{name}" in said:
        try:
            given = np.asarray(said[f"input.{name}"], np.float64)
            return given if given.ndim else np.full(_whole(shape, size), given)
        except (TypeError, ValueError):
            raise ModelError(
                f"--assume input.{name}: expected numbers such as [[1, 1]], got "
                f"{said[f'input.{name}']!r}"
            ) from None
    known = {
        "orig_target_sizes": [[width, height]],  # RT-DETR: boxes come in px of this image
        "scale_factor": [[1.0, 1.0]],  # Paddle: the image as the network sees it
        "im_shape": [[height, width]],
        "image_shape": [[height, width]],  # YOLOv3 of Keras: boxes come in px of this image
    }
    if name in known:
        return np.asarray(known[name])
    if name == "pixel_mask":  # DETR of transformers: all of the input is image
        rows, columns = (
            have if have > 0 else want
            for have, want in zip(shape[1:], (height, width), strict=True)
        )
        return np.ones((1, rows, columns))
    raise ModelError(
        f"{path.name}: input '{name}' {shape} is no picture and not known: give "
        f"--assume input.{name}=[[…]] with its constant value"
    )
