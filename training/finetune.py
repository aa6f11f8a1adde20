"""Teach the fusion head labelled moments of a fleet: `python -m training.finetune SET.json`.

The head begins with the weights of the bundle that serves and stays near them (L2-SP, Li et al.,
2018): few moments must not cost what it knows. Encoders stay as they are, so the result is one
bundle that takes the place of one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from edge_perception.core.version import parse_version
from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.evaluation.recorded import RecordedFrame
from edge_perception.evaluation.rig import ModelSet, Rig, load_set
from edge_perception.evaluation.training_set import TRAIN, TrainingSet, frames_of, read_set
from edge_perception.models.golden import read_golden
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import MANIFEST_NAME, Bundle
from edge_perception.models.writing import write_bundle
from training.camera import LIFT, PLACEMENT
from training.export import differences, to_onnx
from training.fusion import SUBSETS, fusion_loss, fusion_targets
from training.loop import Plan, train
from training.nets import FusionNet
from training.samples import CLASSES, IGNORED
from training.scenes import Features
from training.sounds import CLASSES as SOUNDS
from training.variants import bundled

_MASKS = [(mask, share) for mask, share in SUBSETS.values() if mask[0] or mask[1]]
_EMBEDDING = 32
_NEAR = 1.0  # weight of staying near the weights that serve


def fusion_net(bundle: Bundle) -> nn.Module:
    """Return the fusion head of a bundle, its batch norms within the convolutions."""
    net, inputs = bundled(bundle, FusionNet(len(CLASSES), len(SOUNDS)))
    graph = graph_of(bundle.manifest.model, whole_model(bundle)).graph
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name in weights:
                value.copy_(torch.from_numpy(np.array(weights[name])))
        made = net(*(torch.from_numpy(array) for array in inputs.values()))
    wanted = read_golden(bundle)[1]
    for spec, values in zip(bundle.manifest.outputs, made, strict=True):
        if not np.allclose(values.numpy(), wanted[spec.name], atol=2e-3, rtol=2e-3):
            raise RuntimeError(f"{spec.name}: the network is not that of {bundle.manifest.name}")
    return net


def scene_of(rig: Rig, frame: RecordedFrame) -> Features:
    """Return what the encoders make of a labelled moment, and the truth."""
    grid = lift_grid(frame.camera, LIFT, PLACEMENT)
    camera = rig.feature("camera", frame.image, frame.camera).tensors["bev"]
    lidar = rig.feature("lidar", frame.cloud, frame.lidar).tensors["bev"]
    boxes = np.array(
        [(*b.center_m, *b.size_m, b.yaw_rad, np.nan, np.nan) for b in frame.boxes], np.float32
    ).reshape(-1, 9)
    labels = [CLASSES.index(b.class_name) if b.class_name in CLASSES else IGNORED
              for b in frame.boxes]  # fmt: skip
    return Features(
        camera=camera[0].astype(np.float16),
        lidar=lidar[0].astype(np.float16),
        seen=(grid[0, ..., 0] > -1.5).reshape(len(LIFT.heights_m), *LIFT.shape).any(axis=0),
        boxes=boxes,
        labels=np.array(labels, np.int64),
        in_camera=frame.truth.in_camera,
        in_lidar=frame.truth.in_lidar,
    )


class Moments(Dataset):
    """Labelled moments with modality dropout; sample i depends on i alone."""

    def __init__(self, scenes: Sequence[Features]) -> None:
        self._scenes = scenes
        shares = np.array([share for _, share in _MASKS])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        rng = np.random.default_rng([17, index])
        item = self._scenes[rng.integers(len(self._scenes))]
        camera, lidar, _ = _MASKS[rng.choice(len(_MASKS), p=self._shares)][0]
        mask = (camera, lidar, 0)  # what was heard has no labels here
        return {
            "camera": item.camera.astype(np.float32),
            "lidar": item.lidar.astype(np.float32),
            "embedding": np.zeros(_EMBEDDING, np.float32),
            "sounds": np.zeros(len(SOUNDS), np.float32),
            "presence": np.array(mask, np.float32),
            **fusion_targets(item, mask),
        }


def near_loss(
    net: nn.Module, batch: dict[str, Tensor], *, begun: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the losses of a batch, and what it costs to leave the weights that serve."""
    moved = sum(((value - begun[name]) ** 2).sum() for name, value in net.named_parameters())
    return {**fusion_loss(net, batch), "near": _NEAR * torch.as_tensor(moved)}


def changed_manifest(
    bundle: Bundle, made: TrainingSet, arguments: argparse.Namespace, difference: dict[str, Any]
) -> dict[str, Any]:
    """Return the manifest of the candidate: the same, with where it is from."""
    manifest = json.loads((bundle.path / MANIFEST_NAME).read_bytes())
    for name in ("files", "golden", "schema_version", "created"):
        manifest.pop(name, None)
    now = parse_version(bundle.manifest.version)
    provenance = manifest["provenance"] | {
        "training_script": "training/finetune.py",
        "data": f"training set {made.digest}, {made.frames(TRAIN)} frames",
        "metrics": {
            "base": bundle.sha256,
            "training_set": made.digest,
            "frames": made.frames(TRAIN),
            "steps": arguments.steps,
            "onnx_against_pytorch": difference,
        },
    }
    return manifest | {
        "version": arguments.version or f"{now.major}.{now.minor}.{now.patch + 1}",
        "release": bundle.manifest.release + 1,
        "changelog": f"{made.frames(TRAIN)} labelled moments of the fleet",
        "provenance": provenance,
    }


def write_candidate(
    net: nn.Module, models: ModelSet, made: TrainingSet, arguments: argparse.Namespace
) -> Bundle:
    """Export, compare with PyTorch, write the bundle."""
    bundle = models.fusion
    inputs = read_golden(bundle)[0]
    outputs = [spec.name for spec in bundle.manifest.outputs]
    model = to_onnx(net, inputs, outputs)
    difference = differences(net, model, inputs, outputs)
    kept = {
        name: bundle.read(name)
        for name in bundle.manifest.files
        if name != bundle.manifest.model and not name.endswith(".npz")
    }
    return write_bundle(
        arguments.out,
        manifest=changed_manifest(bundle, made, arguments, difference),
        model=model,
        golden_inputs=inputs,
        files=kept,
        replace=True,
    )


def main() -> None:
    """Make features, train, write the candidate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training_set", type=Path, help="of `edge-perception mine gather`")
    parser.add_argument("--models", type=Path, default=Path("models/bev_lite"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the candidate's bundle")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--version", default="", help="of the candidate (default: the next patch)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    made, models = read_set(arguments.training_set), load_set(arguments.models)
    rig = Rig(models)
    scenes = [
        scene_of(rig, frame)
        for _, recording in frames_of(arguments.training_set, made, TRAIN)
        for frame in recording
    ]
    rig.close()
    if not scenes:
        raise SystemExit("no labelled moment to train on")
    print(f"{len(scenes)} moments", flush=True)
    net = fusion_net(models.fusion)
    begun = {name: value.detach().clone() for name, value in net.named_parameters()}
    plan = Plan(
        name="finetune", steps=arguments.steps, batch=arguments.batch, workers=0,
        learning_rate=arguments.learning_rate, weight_decay=0.0,
        folder=arguments.out.parent / f".{arguments.out.name}.training",
    )  # fmt: skip
    average = train(plan, net, Moments(scenes), partial(near_loss, begun=begun))
    bundle = write_candidate(average, models, made, arguments)
    print(f"{bundle.path}: {bundle.manifest.name} {bundle.manifest.version} {bundle.sha256}")


if __name__ == "__main__":
    main()
