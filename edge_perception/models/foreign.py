"""An ONNX file of somebody else, brought into the form that encoders run.

The graph that goes into a bundle takes one float32 image (1, 3, H, W) and gives float32 tensors of
fixed shapes. What a file has instead is wrapped with nodes, so that running needs no second path:
free axes are pinned, half precision and integers are cast, channels that come last are moved, a
list of detections of any length is padded to a fixed one, weights in other files are taken in, and
inputs that are no picture (the size of the image, a mask) become constants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND
from edge_perception.core.errors import ModelError
from edge_perception.models.foreign_outputs import with_fixed_outputs
from edge_perception.models.foreign_picture import (
    fix_inputs,
    image_axes,
    parsed,
    picture_size,
    said_inputs,
)
from edge_perception.models.front import Front, front_of
from edge_perception.models.graph import Shapes, input_names, load_graph, opset_of, tensor_shapes
from edge_perception.models.graph_wrapping import cast_input, pin_shape
from edge_perception.models.manifest import OPSETS
from edge_perception.models.operators import Cut, cut_suppression
from edge_perception.models.pillar_graph import scatter_with_standard_operators
from edge_perception.models.selected import Selected, follow_selection

_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto.DataType
_CAST = {_FLOAT16: "float16", 11: "float64", 16: "bfloat16"}  # to float32, at the edge
_PINNED = {_FLOAT: np.float32, 6: np.int32, 7: np.int64}
_QUANTISED = (
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger",
)  # fmt: skip
_MOST_NUMBERS = 1 << 28  # of an input: 1 GB of float32
_PLACEHOLDER = re.compile(r"LABEL_\d+")
_BYTES = {2: "uint8", 3: "int8"}  # onnx.TensorProto.DataType
_IR_VERSION = 10  # later ones add types and notes that no detector needs; runtimes lag behind


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
    kinds: Mapping[str, int] = field(default_factory=dict)  # types of the outputs in the file
    whole: frozenset[str] = frozenset()  # outputs that were integers in the file
    cut: Cut | None = None  # a suppression of another runtime that was at the end
    selected: Selected | None = None  # lists in the place of numbers that a suppression gives
    front: Front | None = None  # what is done with the picture's numbers first; None: no picture
    # Outputs of a run on noise, by their names in the file; empty: no picture.
    tried: Mapping[str, NDArray] = field(default_factory=dict)

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
        if not isinstance(value, Mapping | list | tuple):
            raise ModelError(
                f"{self.path.name}: metadata 'names': expected names by number, got {text[:60]!r}"
            )
        pairs = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        try:
            numbered = {
                int(number): _printable(str(name)) or f"class_{number}" for number, name in pairs
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(
                f"{self.path.name}: metadata 'names': expected names: {error}"
            ) from None
        if sorted(numbered) != list(range(len(numbered))):
            raise ModelError(
                f"{self.path.name}: metadata 'names': expected numbers from 0 on without a gap, "
                f"got {sorted(numbered)[:8]}"
            )
        return [numbered[number] for number in sorted(numbered)]


def _printable(name: str) -> str:
    """Return a name in one line, without codes that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def are_placeholders(labels: Sequence[str]) -> bool:
    """Whether class names are what transformers writes where nobody gave any: LABEL_0, LABEL_1."""
    return bool(labels) and all(_PLACEHOLDER.fullmatch(label) for label in labels)


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


def read_foreign(
    path: Path,
    said: Mapping[str, Any],
    *,
    backend: str,
    config: Path | None = None,
    parts: Sequence[Path] = (),
    usual_size: tuple[tuple[int, int], str] | None = None,
) -> ForeignModel:
    """Read an ONNX file and bring it into the form that encoders run.

    Args:
        path: the file; weights in files beside it are taken in.
        said: what the user says; `size` and `input.NAME` are read here.
        backend: runtime that tells shapes which the graph does not.
        config: the family's own configuration file.
        parts: further files of the same network.
        usual_size: width and height, px, of a picture where the graph leaves them free, and who
            says so.

    Raises:
        ModelError: it is no model, or what it does not say must be said.
    """
    reasons: dict[str, str] = {}
    ends: dict[str, Any] = {}
    model = load_graph(path, lambda graph: ends.update(_prepare(graph, reasons)))
    _check_types(path, model)
    shapes = tensor_shapes(model)
    names = input_names(model)
    image = [n for n in names if image_axes(shapes[n]) is not None and f"input.{n}" not in said]
    foreign = ForeignModel(
        path=path,
        model=model,
        shapes=shapes,
        inputs=tuple(names),
        outputs=tuple(value.name for value in model.graph.output),
        size=None,
        metadata={entry.key: entry.value for entry in model.metadata_props},
        said=said,
        reasons=reasons,
        was={value.name: shapes[value.name] for value in model.graph.output},
        kinds={v.name: v.type.tensor_type.elem_type for v in model.graph.output},
        config=config,
        backend=backend,
        **ends,
    )
    if len(image) > 1 and not parts:
        several = ", ".join(f"'{name}' {shapes[name]}" for name in image)
        raise ModelError(
            f"{path.name}: inputs {several} may each be the picture: a camera gives one; where the "
            "others are always the same, say so with --assume input.NAME=VALUE, one number or all"
        )
    if len(image) != 1:  # no picture: as it is, or refused by who reads it
        foreign = replace(foreign, inputs=tuple(said_inputs(path, model, said, reasons)))
        return replace(foreign, parts=tuple((part, load_graph(part)) for part in parts))
    if parts:
        raise ModelError(f"{path.name}: takes pictures, and such a model has one graph, not parts")
    return _of_picture(foreign, image[0], reasons, usual_size)


def _of_picture(
    foreign: ForeignModel,
    image: str,
    reasons: dict[str, str],
    usual_size: tuple[tuple[int, int], str] | None,
) -> ForeignModel:
    path, model, said = foreign.path, foreign.model, foreign.said
    shape = foreign.shapes[image]
    size = picture_size(path, shape, foreign.metadata, said, reasons, usual_size)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    fix_inputs(path, model, image, kinds[image], size, said, reasons)
    full = (1, 3, size[1], size[0])
    noise = np.random.default_rng(0).integers(0, 256, full).astype(np.float32)
    feeds = [{image: np.zeros(full, np.float32)}, {image: noise}]
    try:
        model, whole, tried = with_fixed_outputs(path, model, feeds, foreign.backend, reasons)
    except ModelError as error:
        batch = shape[0] if len(shape) == 4 else 1
        if batch in (-1, 1):
            raise
        raise _for_several(foreign, batch, "it does not run with it") from error
    _check_batch(foreign, image, tensor_shapes(model))
    _check_scaled(foreign)
    reasons["precision"] = precision_of(model)
    return replace(
        foreign,
        model=model,
        shapes=tensor_shapes(model),
        inputs=(image,),
        size=size,
        reasons=reasons,
        whole=whole,
        front=front_of(model, image),
        tried=tried,
    )


def _prepare(model: Any, reasons: dict[str, str]) -> dict[str, Any]:
    """Make a graph of what runtimes here run, where that is the same graph; return its new end."""
    _give_shapes(model)
    cut, selected = cut_suppression(model), follow_selection(model)
    if selected is not None:
        reasons["suppression"] = "in the graph; the boxes that it selects are the outputs"
    if cut is not None:
        reasons["suppression"] = f"{cut.operator} is taken off the graph; the adapter does it"
    if scatter_with_standard_operators(model):
        reasons["scatter"] = "of a TensorRT plug-in, done with standard operators"
    if model.ir_version > _IR_VERSION:
        reasons["ir_version"] = f"{_IR_VERSION}, the file has {model.ir_version}"
        model.ir_version = _IR_VERSION
    return {"cut": cut, "selected": selected}


def _give_shapes(model: Any) -> None:
    """Give outputs without any shape one: runtimes do not mind, the checker does."""
    import onnx

    missing = [v for v in model.graph.output if not v.type.tensor_type.HasField("shape")]
    missing = [value for value in missing if value.type.WhichOneof("value") == "tensor_type"]
    if not missing:
        return
    told = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.output}
    for value in missing:
        value.type.tensor_type.shape.CopyFrom(told[value.name].type.tensor_type.shape)
        if not value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim.add()  # a run tells the others


def _check_types(path: Path, model: Any) -> None:
    opset = opset_of(model)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ModelError(
            f"{path.name}: is of operator set {opset}; expected {OPSETS[0]} to {OPSETS[1]}: export "
            "it with one of these, such as 17"
        )
    for what, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                raise ModelError(
                    f"{path.name}: {what} '{value.name}': expected a tensor, got {kind}: export it "
                    "with tensors alone (torch: a module that returns tensors; scikit-learn: "
                    "options zipmap=False)"
                )
            if value.type.tensor_type.elem_type == 8:  # onnx.TensorProto.STRING
                raise ModelError(
                    f"{path.name}: {what} '{value.name}': expected numbers, got text: export it "
                    "from behind what reads texts, and up to numbers of classes"
                )


def _check_scaled(foreign: ForeignModel) -> None:
    """Refuse quantised outputs: by what they are to be multiplied is not in the graph."""
    for value in foreign.model.graph.output:
        kind = foreign.kinds[value.name]
        if kind in _BYTES and len(foreign.was[value.name]) > 2:
            raise ModelError(
                f"{foreign.path.name}: output '{value.name}' is {_BYTES[kind]}, and its scale is "
                "not in the graph: export it with outputs in float32"
            )


def _check_batch(foreign: ForeignModel, image: str, shapes: Shapes) -> None:
    """Refuse a graph that was made for several pictures and cannot take one."""
    batch = foreign.shapes[image][0] if len(foreign.shapes[image]) == 4 else 1
    if batch in (-1, 1):
        return
    for name, was in foreign.was.items():
        if was[:1] == (batch,) and shapes[name] != (1, *was[1:]) and -1 not in was:
            raise _for_several(foreign, batch, f"output '{name}' would be {shapes[name]}")


def _for_several(foreign: ForeignModel, batch: int, why: str) -> ModelError:
    return ModelError(
        f"{foreign.path.name}: is made for {batch} pictures at once and cannot take one: {why}: "
        "export it with a batch of 1"
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
        if kinds[name] in _CAST:
            reasons["input_type"] = _CAST[kinds[name]]
            cast_input(model, name)
            kinds[name] = _FLOAT
        if kinds[name] not in _PINNED:
            raise ModelError(f"{foreign.path.name}: input '{name}': expected float32 or integers")
        if -1 in foreign.shapes[name]:
            reasons["free_axes"] = f"pinned to {shape}"
        if math.prod(shape) > _MOST_NUMBERS:
            raise ModelError(
                f"{foreign.path.name}: input '{name}': expected at most {_MOST_NUMBERS} numbers, "
                f"got {shape}"
            )
        pin_shape(model, name, shape)
        feed[name] = np.zeros(shape, _PINNED[kinds[name]])
    model, _, _ = with_fixed_outputs(foreign.path, model, [feed], foreign.backend, reasons)
    reasons["precision"] = precision_of(model)
    return replace(foreign, model=model, shapes=tensor_shapes(model), reasons=reasons)


def precision_of(model: Any) -> str:
    """Return fp32, fp16 or int8: what most of the graph's weights are in."""
    if any(node.op_type in _QUANTISED for node in model.graph.node):
        return "int8"
    kinds = [t.data_type for t in model.graph.initializer if t.data_type in (_FLOAT, _FLOAT16)]
    return "fp16" if kinds.count(_FLOAT16) > len(kinds) / 2 else "fp32"


def bundle_name(path: Path) -> str:
    """Return what a bundle is called after a file: letters, digits, dots and dashes of its name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).strip("._-")[:100] or "model"


def described(foreign: ForeignModel, adapter: str, role: str) -> dict[str, Any]:
    """Return the fields of a manifest that every family has in the same way."""
    return {
        "schema_version": 1,
        "name": bundle_name(foreign.path),
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
