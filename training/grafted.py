"""Give variants in 8 bits what tells the front: `python -m training.grafted VARIANT …`.

`facing` looks at a map that every variant makes, and is small. It is taken from the large model as
it is, in fp32: all else that the variant says stays the same, bit by bit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch
from onnx import compose, helper
from torch import Tensor, nn

from edge_perception.models.golden import read_golden
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.writing import write_bundle
from training.export import to_onnx
from training.family import fields_of
from training.lidar import OUT
from training.nets import Heads, headed
from training.samples import CLASSES
from training.targets import SHAPE

_AROUND = "/bev/bev.0/Conv"  # the layer that takes the map which `facing` looks at
_CHANNELS = 32
_PREFIX, _BOXES, _AXES = "facing_", "boxes", "axes"


class Turned(nn.Module):
    """Boxes (1, 8, H, W) with their axes alone, and the map, to boxes with headings."""

    def __init__(self, facing: nn.Module) -> None:
        super().__init__()
        self.facing = facing

    def forward(self, axes: Tensor, around: Tensor) -> Tensor:
        """Return the boxes; the length of the heading says how sure the front is."""
        return headed(axes, self.facing(around))


def grafted(model: onnx.ModelProto, facing: nn.Module) -> bytes:
    """Return a variant's graph with `facing` behind it.

    Args:
        model: whose boxes have axes alone; changed.
        facing: of the large model.

    Raises:
        KeyError: no layer of it takes the map.
    """
    graph = model.graph
    given = next((node.input[0] for node in graph.node if node.name == _AROUND), None)
    if given is None:
        raise KeyError(f"{_AROUND}: no such layer")
    for node in graph.node:  # `boxes` is what comes out in the end
        node.output[:] = [_AXES if name == _BOXES else name for name in node.output]
    next(output for output in graph.output if output.name == _BOXES).name = _AXES
    names = [output.name for output in graph.output]
    shapes = {"axes": (1, 8, *SHAPE), "around": (1, _CHANNELS, *SHAPE)}
    graph.output.append(
        helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shapes["around"])
    )
    inputs = {name: torch.zeros(shape).numpy() for name, shape in shapes.items()}
    behind = onnx.load_from_string(to_onnx(Turned(facing), inputs, [_BOXES]))
    behind.ir_version = model.ir_version
    behind.opset_import[0].version = model.opset_import[0].version
    for part in (model, behind):
        del part.graph.value_info[:]
    whole = compose.merge_models(
        model, compose.add_prefix(behind, _PREFIX, rename_outputs=False),
        io_map=[(_AXES, f"{_PREFIX}axes"), (given, f"{_PREFIX}around")],
        outputs=[*(name for name in names if name != _AXES), _BOXES],
    )  # fmt: skip
    onnx.checker.check_model(whole)
    return whole.SerializeToString()


def write(variant: Bundle, weights: str, into: Path) -> Bundle:
    """Write a variant with `facing`, with golden outputs of its own.

    Args:
        variant: in 8 bits.
        weights: of the large model, of training_out.
        into: folder of the bundle.
    """
    heads = Heads(_CHANNELS, len(CLASSES), around=_CHANNELS)
    prefix = "heads.facing."
    stored = torch.load(OUT / f"{weights}.pt", weights_only=True)
    heads.facing.load_state_dict(
        {name.removeprefix(prefix): v for name, v in stored.items() if name.startswith(prefix)}
    )
    model = grafted(graph_of(variant.manifest.model, whole_model(variant)), heads.facing.eval())
    manifest = fields_of(variant)
    manifest.pop("changelog")  # of the version that it is made of
    return write_bundle(
        into, manifest=manifest, model=model, golden_inputs=read_golden(variant)[0],
        files={"MODEL_CARD.md": variant.read("MODEL_CARD.md")}, replace=True,
    )  # fmt: skip


def main() -> None:
    """Write the bundle of a variant with `facing`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", type=Path, help="folder of its bundle")
    parser.add_argument("--weights", required=True, help="of the large model, of training_out")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    made = write(load_bundle(arguments.variant), arguments.weights, arguments.into)
    print(f"{arguments.into}: {made.manifest.resources.disk_bytes} bytes")


if __name__ == "__main__":
    main()
