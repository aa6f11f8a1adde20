"""Give variants in 8 bits what tells the front: `python -m training.grafted VARIANT …`.

`facing` looks at a map that every variant makes, and is small. It is taken from the large model as
it is, in fp32: all else that the variant says stays the same, bit by bit.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
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
from training.bundle import plain
from training.export import to_onnx
from training.lidar import OUT
from training.nets import Heads
from training.samples import CLASSES
from training.targets import SHAPE

_AROUND = "/bev/bev.0/Conv"  # the layer that takes the map which `facing` looks at
_CHANNELS = 32
_PREFIX = "facing_"


class Turned(nn.Module):
    """Boxes (1, 8, H, W) with their axes alone, and the map, to boxes with headings."""

    def __init__(self, facing: nn.Module) -> None:
        super().__init__()
        self.facing = facing

    def forward(self, boxes: Tensor, around: Tensor) -> Tensor:
        """Return the boxes; the length of the heading says how sure the front is."""
        axis = boxes[:, 6:8]
        sure = torch.tanh(0.5 * (axis * self.facing(around)).sum(dim=1, keepdim=True))
        return torch.cat([boxes[:, :6], axis * sure], dim=1)


def grafted(model: onnx.ModelProto, facing: nn.Module) -> bytes:
    """Return a variant's graph with `facing` behind it.

    Args:
        model: whose boxes have axes alone.
        facing: of the large model.

    Raises:
        KeyError: no layer of it takes the map.
    """
    given = next((node.input[0] for node in model.graph.node if node.name == _AROUND), None)
    if given is None:
        raise KeyError(f"{_AROUND}: no such layer")
    shapes = {"boxes": (1, 8, *SHAPE), "around": (1, _CHANNELS, *SHAPE)}
    inputs = {name: torch.zeros(shape).numpy() for name, shape in shapes.items()}
    behind = onnx.load_from_string(to_onnx(Turned(facing), inputs, ["headed"]))
    behind.ir_version = model.ir_version
    behind.opset_import[0].version = model.opset_import[0].version
    names = [output.name for output in model.graph.output]
    kind = onnx.TensorProto.FLOAT
    model.graph.output.append(helper.make_tensor_value_info(given, kind, shapes["around"]))
    for part in (model, behind):
        del part.graph.value_info[:]
    whole = compose.merge_models(
        model, compose.add_prefix(behind, _PREFIX),
        io_map=[("boxes", f"{_PREFIX}boxes"), (given, f"{_PREFIX}around")],
        outputs=[*(name for name in names if name != "boxes"), f"{_PREFIX}headed"],
    )  # fmt: skip
    made = {output: node for node in whole.graph.node for output in node.output}
    for node in whole.graph.node:
        node.input[:] = ["boxes_axes" if name == "boxes" else name for name in node.input]
    for node, old, new in (
        (made["boxes"], "boxes", "boxes_axes"),
        (made[f"{_PREFIX}headed"], f"{_PREFIX}headed", "boxes"),
    ):
        node.output[:] = [new if name == old else name for name in node.output]
    outputs = {output.name: output for output in whole.graph.output}
    outputs[f"{_PREFIX}headed"].name = "boxes"
    ordered = [outputs[name if name != "boxes" else f"{_PREFIX}headed"] for name in names]
    kept = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in ordered]
    del whole.graph.output[:]
    whole.graph.output.extend(kept)
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
    manifest = plain(json.loads(json.dumps(asdict(variant.manifest))))
    for name in ("files", "golden", "created", "changelog"):
        manifest.pop(name, None)
    for name in [n for n in ("calibration_set",) if manifest.get(n) is None]:
        manifest.pop(name)
    objectives = manifest.get("objectives") or {}
    manifest["objectives"] = {k: v for k, v in objectives.items() if v is not None}
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
