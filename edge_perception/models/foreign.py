"""An ONNX file of somebody else, brought into the form that encoders run.

The graph that goes into a bundle takes one float32 image (1, 3, H, W) and gives float32 tensors of
fixed shapes. What a file has instead is wrapped with nodes, so that running needs no second path:
free axes are pinned, half precision and integers are cast, channels that come last are moved, a
list of detections of any length is padded to a fixed one, weights in other files are taken in, and
inputs that are no picture (the size of the image, a mask) become constants.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import BackendError, ModelError
from edge_perception.models.graph import Shapes, input_names, load_graph, opset_of, tensor_shapes
from edge_perception.models.graph_wrapping import (
    constant_input,
    fixed_output,
    pin_shape,
    wrap_image_input,
)

PADDED_ROWS = 300  # detections of a list whose length depends on the picture
_LONGEST_METADATA = 1 << 20
_NOT_FIXED = ("NonMaxSuppression", "NonZero", "Unique", "Loop")  # lengths follow the data
_FLOAT, _UINT8, _FLOAT16 = 1, 2, 10  # onnx.TensorProto.DataType
_PINNED = {_FLOAT: np.float32, 6: np.int32, 7: np.int64}
_PRECISIONS = {"QuantizeLinear": "int8", "DequantizeLinear": "int8", "QLinearConv": "int8"}


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """What those who recognise a family look at."""

    path: Path
    model: Any  # onnx.ModelProto, in the form that encoders run
    shapes: Shapes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    size: tuple[int, int] | None  # width and height of the image input, px; None: no image
    metadata: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)  # what the user says instead of a guess
    reasons: Mapping[str, str] = field(default_factory=dict)  # why the form is what it is
    was: Shapes = field(default_factory=dict)  # shapes of the outputs in the file
    config: Path | None = None  # the family's own configuration file
    backend: str = DEFAULT_BACKEND  # runtime that tells shapes which the graph does not
    parts: tuple[tuple[Path, Any], ...] = ()  # further files of the network, with their graphs

    def output_shapes(self) -> Shapes:
        """Return the outputs with their shapes."""
        return {name: self.shapes[name] for name in self.outputs}

    def names(self) -> list[str]:
        """Return the class names of the metadata, in their order; none: it has none.

        Raises:
            ModelError: they are no names.
        """
        text = self.metadata.get("names", "")
        if not text:
            return []
        value = parsed(text, f"{self.path.name}: metadata 'names'")
        pairs = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        try:
            numbered = {int(number): str(name) for number, name in pairs}
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{self.path.name}: metadata 'names': expected names: {error}"
            ) from None
        if sorted(numbered) != list(range(len(numbered))):
            raise ModelError(
                f"{self.path.name}: metadata 'names': expected numbers from 0 on without a gap, "
                f"got {sorted(numbered)[:8]}"
            )
        return [numbered[number] for number in sorted(numbered)]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file may be, with everything that was assumed."""

    family: str
    manifest: dict[str, Any]  # without `files`
    # Why an option of pre- or postprocessing has its value; options that are not here are defaults.
    reasons: Mapping[str, str] = field(default_factory=dict)
    # What the file does not tell and nobody may guess: option -> the choices there are.
    undecided: Mapping[str, str] = field(default_factory=dict)
    classes: int | None = None  # how many the outputs have; None: they do not tell
    model: Any = None  # where it is another graph than that of the ForeignModel


def parsed(text: str, where: str) -> Any:
    """Read JSON, or a literal of Python as exporters write it into metadata.

    Raises:
        ModelError: it is neither.
    """
    if len(text) > _LONGEST_METADATA:
        raise ModelError(f"{where}: expected at most {_LONGEST_METADATA} characters")
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ModelError(f"{where}: expected JSON or a list, got {text[:60]!r}") from None


def read_foreign(
    path: Path,
    said: Mapping[str, Any],
    *,
    backend: str,
    config: Path | None = None,
    parts: Sequence[Path] = (),
) -> ForeignModel:
    """Read an ONNX file and bring it into the form that encoders run.

    Args:
        path: the file; weights in files beside it are taken in.
        said: what the user says; `size` and `input.NAME` are read here.
        backend: runtime that tells shapes which the graph does not.
        config: the family's own configuration file.
        parts: further files of the same network.

    Raises:
        ModelError: it is no model, or what it does not say must be said.
    """
    model = load_graph(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    shapes = tensor_shapes(model)
    was = {value.name: shapes[value.name] for value in model.graph.output}
    names = input_names(model)
    image = [name for name in names if _image_axes(shapes[name]) is not None]
    reasons: dict[str, str] = {}
    if len(image) != 1:  # no picture: as it is, or refused by who reads it
        return ForeignModel(
            path=path,
            model=model,
            shapes=shapes,
            inputs=tuple(names),
            outputs=tuple(was),
            size=None,
            metadata=metadata,
            said=said,
            was=was,
            config=config,
            backend=backend,
            parts=tuple((part, load_graph(part)) for part in parts),
        )
    if parts:
        raise ModelError(f"{path.name}: takes pictures, and such a model has one graph, not parts")
    size = _size(path, shapes[image[0]], metadata, said, reasons)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    _fix_inputs(path, model, image[0], kinds[image[0]], size, said, reasons)
    picture = np.zeros((1, 3, size[1], size[0]), np.float32)
    model = _with_fixed_outputs(path, model, {image[0]: picture}, backend, reasons)
    reasons["precision"] = precision_of(model)
    return ForeignModel(
        path=path,
        model=model,
        shapes=tensor_shapes(model),
        inputs=(image[0],),
        outputs=tuple(was),
        size=size,
        metadata=metadata,
        said=said,
        reasons=reasons,
        was=was,
        config=config,
        backend=backend,
    )


def pin_inputs(foreign: ForeignModel, wanted: Shapes) -> ForeignModel:
    """Return a file that is no picture's with fixed shapes: inputs as wanted, outputs as they get.

    Raises:
        ModelError: the graph does not run so.
    """
    model, reasons = foreign.model, dict(foreign.reasons)
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    feed = {}
    for name, shape in wanted.items():
        if kinds[name] not in _PINNED:
            raise ModelError(f"{foreign.path.name}: input '{name}': expected float32 or integers")
        if -1 in foreign.shapes[name]:
            reasons["free_axes"] = f"pinned to {shape}"
        pin_shape(model, name, shape)
        feed[name] = np.zeros(shape, _PINNED[kinds[name]])
    model = _with_fixed_outputs(foreign.path, model, feed, foreign.backend, reasons)
    reasons["precision"] = precision_of(model)
    return replace(foreign, model=model, shapes=tensor_shapes(model), reasons=reasons)


def precision_of(model: Any) -> str:
    """Return fp32, fp16 or int8: what most of the graph's weights are in."""
    if any(node.op_type in _PRECISIONS for node in model.graph.node):
        return "int8"
    kinds = [t.data_type for t in model.graph.initializer if t.data_type in (_FLOAT, _FLOAT16)]
    return "fp16" if kinds.count(_FLOAT16) > len(kinds) / 2 else "fp32"


def described(foreign: ForeignModel, adapter: str, role: str) -> dict[str, Any]:
    """Return the fields of a manifest that every family has in the same way."""
    return {
        "schema_version": 1,
        "name": foreign.path.stem,
        "role": role,
        "version": "1.0.0",
        "adapter": adapter,
        "inputs": [
            {"name": name, "dtype": "float32", "shape": list(foreign.shapes[name])}
            for name in foreign.inputs
        ],
        "runtime": {"opset": opset_of(foreign.model), "precision": precision_of(foreign.model)},
        "provenance": {
            "licence": foreign.metadata.get("license", "not said"),
            "source": foreign.metadata.get("description", foreign.path.name),
        },
    }


def _image_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return which axes are channels, height and width of an image; None: it is none."""
    if len(shape) == 4 and shape[1] == 3:
        return (1, 2, 3)
    if len(shape) == 4 and shape[3] == 3:
        return (3, 1, 2)
    if len(shape) == 3 and shape[0] == 3:
        return (0, 1, 2)
    # Exporters leave all axes free; four of them are still a picture.
    return (1, 2, 3) if shape == (-1, -1, -1, -1) else None


def _size(
    path: Path,
    shape: tuple[int, ...],
    metadata: Mapping[str, str],
    said: Mapping[str, Any],
    reasons: dict[str, str],
) -> tuple[int, int]:
    axes = _image_axes(shape)
    assert axes is not None
    height, width = shape[axes[1]], shape[axes[2]]
    if "size" in said:
        size = _pair(said["size"], "size")
        if any(have not in (-1, want) for have, want in zip((width, height), size, strict=True)):
            raise ModelError(
                f"{path.name}: size={size[0]}x{size[1]}: the graph has {width}x{height}"
            )
        reasons["size"] = "said"
        return size
    if width > 0 and height > 0:
        reasons["size"] = "shape of the input"
        return (width, height)
    if "imgsz" in metadata:
        value = parsed(metadata["imgsz"], f"{path.name}: metadata 'imgsz'")
        sides = [value, value] if isinstance(value, int) else list(value)
        reasons["size"] = "'imgsz' of the metadata; the graph leaves it free"
        return _pair([sides[-1], sides[0]], "metadata 'imgsz'")  # it is height, width
    raise ModelError(
        f"{path.name}: the graph takes images of any size and its metadata name none: "
        "give --assume size=WIDTHxHEIGHT"
    )


def _pair(value: Any, what: str) -> tuple[int, int]:
    parts = value.lower().split("x") if isinstance(value, str) else value
    try:
        width, height = (int(part) for part in parts)
    except (TypeError, ValueError):
        raise ModelError(f"{what}: expected WIDTHxHEIGHT, got {value!r}") from None
    if not (8 <= width <= 8192 and 8 <= height <= 8192):
        raise ModelError(f"{what}: expected 8 to 8192 px, got {width}x{height}")
    return width, height


def _fix_inputs(
    path: Path,
    model: Any,
    image: str,
    kind: int,
    size: tuple[int, int],
    said: Mapping[str, Any],
    reasons: dict[str, str],
) -> None:
    shapes = tensor_shapes(model)
    width, height = size
    axes = _image_axes(shapes[image])
    assert axes is not None
    fixed = [1] * len(shapes[image])
    for axis, value in zip(axes, (3, height, width), strict=True):
        fixed[axis] = value
    if kind not in (_FLOAT, _FLOAT16, _UINT8):
        raise ModelError(f"{path.name}: input '{image}': expected float32, float16 or uint8")
    reasons["layout"] = {(1, 2, 3): "NCHW", (3, 1, 2): "NHWC", (0, 1, 2): "CHW"}[axes]
    reasons["input_type"] = {_FLOAT: "float32", _FLOAT16: "float16", _UINT8: "uint8"}[kind]
    if -1 in shapes[image]:
        reasons["free_axes"] = f"pinned to {tuple(fixed)}"
    pin_shape(model, image, tuple(fixed))
    wrap_image_input(model, image, axes=axes, kind=kind, size=size)
    for name in input_names(model):
        if name != image:
            constant = _constant(path, name, shapes[name], size, said)
            constant_input(model, name, constant)
            reasons[f"input.{name}"] = f"constant {np.unique(constant).tolist()[:4]}"


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
        return np.asarray(said[f"input.{name}"])
    known = {
        "orig_target_sizes": [[width, height]],  # RT-DETR: boxes come in px of this image
        "scale_factor": [[1.0, 1.0]],  # Paddle: the image as the network sees it
        "im_shape": [[height, width]],
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


def _with_fixed_outputs(
    path: Path,
    model: Any,
    feed: Mapping[str, NDArray],
    backend: str,
    reasons: dict[str, str],
) -> Any:
    """Give every output a fixed shape and float32; what the graph does not tell, a run does."""
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value <= 0:
                dim.Clear()
    names = [value.name for value in model.graph.output]
    seen = _run(path, model, feed, backend)
    free = _data_dependent(model)
    for name in names:
        shape = seen[name].shape
        axis = _free_axis(model, name, shape) if name in free else None
        if axis is not None and shape[axis] > PADDED_ROWS:
            axis = None  # that many on a black picture are no detections: all cells, say
        fixed_output(model, name, shape, seen[name].dtype, free_axis=axis, rows=PADDED_ROWS)
        if axis is not None:
            reasons[f"output.{name}"] = (
                f"padded to {PADDED_ROWS} rows: their number follows the data"
            )
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # onnx raises many types
        raise ModelError(
            f"{path.name}: the graph with fixed shapes is not valid: {error}"
        ) from error


def _free_axis(model: Any, name: str, shape: tuple[int, ...]) -> int | None:
    """Return the axis whose length follows the data; None: the graph says all of them."""
    dims = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else -1
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in model.graph.output
    }[name]
    if len(dims) == len(shape) and -1 not in dims:
        return None
    open_axes = [axis for axis, dim in enumerate(dims) if dim == -1] if dims else [0]
    # (batch, N, 4) with both free: the batch is one.
    return open_axes[-1] if len(shape) > 2 and len(open_axes) > 1 else open_axes[0]


def _run(path: Path, model: Any, feed: Mapping[str, NDArray], backend: str) -> dict[str, NDArray]:
    options = BackendOptions()
    try:
        session = load_model_bytes(backends()[backend], model.SerializeToString(), path, options)
        try:
            return session.infer(feed)
        finally:
            session.close()
    except BackendError as error:
        shapes = {name: value.shape for name, value in feed.items()}
        raise ModelError(f"{path.name}: does not run with inputs {shapes}: {error}") from error


def _data_dependent(model: Any) -> set[str]:
    """Return the tensors that come after a node whose output's length follows the data."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _NOT_FIXED or any(name in found for name in node.input):
            found.update(node.output)
    return found
