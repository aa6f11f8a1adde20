"""Go on with the bundled fusion model on rigs of any cameras: `python -m training.surround_fusion`.

The encoders are the bundled ones, run by ONNX Runtime, and stay as they are; so does what the graph
hears. Features of the cameras and LiDARs of a scene are merged as the runtime merges them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.encoders.lidar.preprocess import bin_points, rasterize
from edge_perception.evaluation.rig import Rig, load_set
from edge_perception.models.golden import read_golden
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import load_bundle
from edge_perception.optimize.shrinking import folded
from edge_perception.optimize.sources import TorchSource
from training import surround
from training.camera import HELD_OUT, LIFT, PLACEMENT, image_tensor
from training.fusion import (
    SUBSETS,
    Features,
    evaluate,
    fusion_targets,
    print_fusion,
    real_features,
    scene_features,
)
from training.lidar import AHEAD, CONFIG, LEAST_POINTS, OUT
from training.loop import Plan, train
from training.nets import FusionNet
from training.pictures import Picture
from training.samples import CLASSES, Sweep
from training.sounds import CLASSES as SOUNDS
from training.surround import RigFeatures
from training.targets import count_points, detection_loss

SET = Path("models/bev_lite")
SINGLE_SEED = (
    70_000  # scenes with one camera of random lens, as the versions before were trained on
)
RIG_SHARE = 0.6  # of the samples; the rest have one camera and one LiDAR
_CAMERAS = ((1, 2, 3, 4, 5, 6), (0.25, 0.1, 0.2, 0.1, 0.1, 0.25))  # how many are there, how often
_LIDARS = ((("lidar",), ("lidar_1",), ("lidar", "lidar_1")), (0.65, 0.1, 0.25))
_MASKS = (((1, 1, 0), (0, 1, 0), (1, 0, 0)), (0.4, 0.15, 0.45))  # camera, LiDAR, audio


class BundledEncoders:
    """The bundled encoders by ONNX Runtime, for the scenes that `training.fusion` makes."""

    def __init__(self, folder: Path = SET) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = {
            role: onnxruntime.InferenceSession(
                str(folder / role / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for role in ("camera", "lidar")
        }

    def features(self, sweep: Sweep, picture: Picture) -> Features:
        """Run camera and LiDAR on one scene; both in the same base frame."""
        binned = bin_points(sweep.xyz_m, CONFIG)
        raster = rasterize(sweep.xyz_m, sweep.intensity, CONFIG, binned=binned)
        grid = lift_grid(picture.geometry, LIFT, PLACEMENT)
        image = image_tensor(picture.bgr)[None]
        lidar = self._sessions["lidar"].run(["bev"], {"raster": raster[None]})[0][0]
        camera = self._sessions["camera"].run(["bev"], {"images": image, "grid": grid})[0][0]
        seen = (grid[0, ..., 0] > -1.5).reshape(len(LIFT.heights_m), *LIFT.shape).any(axis=0)
        return Features(
            camera=camera.astype(np.float16), lidar=lidar.astype(np.float16), seen=seen,
            boxes=sweep.boxes, labels=sweep.labels, in_camera=picture.visible,
            in_lidar=count_points(binned, sweep.boxes, CONFIG) >= LEAST_POINTS,
        )  # fmt: skip


def bundled_net(folder: Path = SET) -> nn.Module:
    """Return the fusion network with the bundled weights, batch norms part of the convolutions."""
    bundle = load_bundle(folder / "fusion")
    inputs = read_golden(bundle)[0]
    net = FusionNet(len(CLASSES), len(SOUNDS)).eval()
    module = folded(TorchSource(name="fusion", module=net, inputs=inputs)).module
    graph = graph_of(bundle.manifest.model, whole_model(bundle)).graph
    weights = {t.name: np.array(onnx.numpy_helper.to_array(t)) for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    layers = [
        module.join[0], *(part for block in module.mix for part in (block.first[0], block.second)),
        module.heads.shared[0], module.heads.box, module.heads.heat,
    ]  # fmt: skip
    with torch.no_grad():
        named = dict(module.named_parameters())
        for name in ("absent_camera", "absent_lidar", "absent_audio", "audio.weight", "audio.bias"):
            named[name].copy_(torch.from_numpy(weights[name]))
        for layer, node in zip(_in_order(layers, convolutions, weights), convolutions, strict=True):
            layer.weight.copy_(torch.from_numpy(weights[node.input[1]]))
            layer.bias.copy_(torch.from_numpy(weights[node.input[2]]))
    session = onnxruntime.InferenceSession(whole_model(bundle), providers=["CPUExecutionProvider"])
    expected = session.run(["heatmap", "boxes"], inputs)
    with torch.no_grad():
        got = module(*(torch.from_numpy(array) for array in inputs.values()))
    for one, other in zip(got, expected, strict=False):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-3)
    return module


def _in_order(layers: list, nodes: list, weights: dict) -> list:
    """Put box and heat in the order of the graph, told by how many channels they give."""
    tail = {int(layer.weight.shape[0]): layer for layer in layers[-2:]}
    return [*layers[:-2], *(tail[weights[node.input[1]].shape[0]] for node in nodes[-2:])]


def as_features(item: RigFeatures, cameras: list[str], lidars: list[str]) -> Features:
    """Return what the graph is given of a rig of which these sources are there."""
    nothing = np.zeros(len(item.labels), bool)
    return Features(
        camera=item.merged(cameras).astype(np.float16),
        lidar=item.merged(lidars).astype(np.float16),
        seen=np.any([item.seen[name][0] > 0 for name in cameras], axis=0),
        boxes=item.boxes,
        labels=item.labels,
        in_camera=np.any([nothing, *(item.shows[name] for name in cameras)], axis=0),
        in_lidar=np.any([nothing, *(item.shows[name] for name in lidars)], axis=0),
    )


def drawn(item: RigFeatures, rng: np.random.Generator) -> Features:
    """Return a scene with a random part of its rig; one camera alone is often the front one."""
    names = item.of("camera")
    count = int(rng.choice(_CAMERAS[0], p=_CAMERAS[1]))
    cameras = [str(name) for name in rng.choice(names, count, replace=False)]
    if count == 1 and rng.random() < 0.5:
        cameras = names[:1]
    lidars = list(_LIDARS[0][rng.choice(len(_LIDARS[0]), p=_LIDARS[1])])
    return as_features(item, cameras, lidars)


class Samples(Dataset):
    """Rigs with random parts missing, and scenes with one camera; sample i depends on i alone."""

    def __init__(self, rigs: Sequence[Path], singles: Sequence[Features]) -> None:
        self._rigs, self._singles = rigs, singles
        self._subsets = [mask for mask, _ in SUBSETS.values()]
        shares = np.array([share for _, share in SUBSETS.values()])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        rng = np.random.default_rng([23, index])
        if rng.random() < RIG_SHARE:
            item = drawn(surround.load(self._rigs[rng.integers(len(self._rigs))]), rng)
            mask = _MASKS[0][rng.choice(len(_MASKS[0]), p=_MASKS[1])]
        else:
            item = self._singles[rng.integers(len(self._singles))]
            mask = self._subsets[rng.choice(len(self._subsets), p=self._shares)]
        return {
            "camera": item.camera.astype(np.float32),
            "lidar": item.lidar.astype(np.float32),
            "presence": np.array(mask, np.float32),
            **fusion_targets(item, mask),
        }


def located_loss(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return heatmap and box loss of a batch."""
    silence = torch.zeros(len(batch["presence"]), 32)
    heat, box, _ = net(batch["camera"], batch["lidar"], silence, batch["presence"])
    heat_loss, box_loss = detection_loss(heat, box, batch)
    return {"heat": heat_loss, "box": 0.5 * box_loss}


def report_of(
    net: nn.Module, encoders: BundledEncoders, rigs: Sequence[RigFeatures], singles: int
) -> dict:
    """Return metrics on held-out scenes with one camera, on rigs, and on both PandaSet sequences.

    Thresholds and calibrations are those of one camera and of rigs with parts missing together.
    """
    silence = np.zeros((1, 32), np.float32)
    single = [scene_features(encoders, seed, None) for seed in HELD_OUT[:singles]]  # type: ignore[arg-type]
    rng = np.random.default_rng(24)
    parts = [drawn(item, rng) for item in rigs]
    report = {"simulated_held_out": evaluate(net, [*single, *parts], silence)}
    thresholds = report["simulated_held_out"]["thresholds"]
    report["one_camera_held_out"] = evaluate(net, single, silence, thresholds=thresholds)
    whole = [as_features(item, item.of("camera"), ["lidar"]) for item in rigs]
    report["six_cameras_held_out"] = evaluate(net, whole, silence, thresholds=thresholds)
    for sequence, label in (("001", "trained_on"), ("002", "held_out")):
        real = real_features(encoders, sequence, 0)  # type: ignore[arg-type]
        report[f"pandaset_{sequence}_{label}"] = evaluate(
            net, real, silence, thresholds=thresholds, region=AHEAD
        )
    return report


def main() -> None:
    """Train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rigs", type=int, default=400, help="rig scenes to train on")
    parser.add_argument("--singles", type=int, default=200, help="scenes with one camera")
    parser.add_argument("--real-variants", type=int, default=30)
    parser.add_argument("--held-out", type=int, default=50, help="rig scenes")
    parser.add_argument("--held-out-singles", type=int, default=150)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--name", default="fusion")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rig, encoders = Rig(load_set(SET)), BundledEncoders()
    for number in range(arguments.rigs):
        surround.cached(rig, surround.FIRST_SEED + number)
    paths = [surround.CACHE / f"{surround.FIRST_SEED + n:07d}.npz" for n in range(arguments.rigs)]
    singles = []
    for number in range(arguments.singles):
        rng = np.random.default_rng([25, number])
        singles.append(scene_features(encoders, SINGLE_SEED + number, rng))  # type: ignore[arg-type]
    singles += real_features(encoders, "001", arguments.real_variants)  # type: ignore[arg-type]
    held = [surround.cached(rig, surround.HELD_OUT_SEED + n) for n in range(arguments.held_out)]
    net = bundled_net()
    for part in (net.absent_audio, *net.audio.parameters()):
        part.requires_grad_(False)
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=arguments.learning_rate, folder=OUT,
    )  # fmt: skip
    average = train(plan, net, Samples(paths, singles), located_loss)
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    report = report_of(average, encoders, held, arguments.held_out_singles)
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    for title, entry in report.items():
        print_fusion(title, entry)


if __name__ == "__main__":
    main()
