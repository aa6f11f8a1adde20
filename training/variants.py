"""The networks of the bundled encoders with the bundled weights, for `edge-perception optimize`.

Batch norms are part of the convolutions, as in the bundles. From the repository root, where
PyTorch is: `edge-perception optimize prune training.variants:lidar --data
training.variants:lidar_frames …`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.encoders.lidar.preprocess import rasterize
from edge_perception.models.golden import read_golden
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.optimize.shrinking import folded
from edge_perception.optimize.sources import TorchSource
from training import camera, lidar
from training.nets import BEV_CHANNELS, AudioNet, CameraNet, ConvBlock, Heads, LidarNet, Residual
from training.pictures import cached_picture
from training.samples import CLASSES
from training.simulated import cached_sweep
from training.sounds import CLASSES as SOUNDS

SET = Path("models/bev_lite")
Made = tuple[nn.Module, dict[str, NDArray]]


def lidar_net() -> Made:
    """Return the LiDAR encoder as it is bundled, with its golden inputs."""
    return _bundled("lidar", LidarNet(len(lidar.CONFIG.channels), len(CLASSES)))


def camera_net() -> Made:
    """Return the camera encoder as it is bundled, with its golden inputs."""
    return _bundled("camera", CameraNet(len(CLASSES), len(camera.LIFT.heights_m)))


def audio_net() -> Made:
    """Return the audio encoder as it is bundled, with its golden inputs."""
    return _bundled("audio", AudioNet(len(SOUNDS)))


def fusion_sound_head() -> nn.Linear:
    """Return what the bundled fusion model makes sound scores of an embedding with."""
    bundle = load_bundle(SET / "fusion")
    graph = graph_of(bundle.manifest.model, whole_model(bundle)).graph
    given = {t.name: np.array(onnx.numpy_helper.to_array(t)) for t in graph.initializer}
    head = nn.Linear(*given["audio.weight"].shape[::-1])
    names = ("weight", "bias")
    head.load_state_dict({name: torch.from_numpy(given[f"audio.{name}"]) for name in names})
    return head


def lidar_frames() -> Iterator[dict[str, NDArray]]:
    """Yield rasters of simulated training sweeps."""
    seed = 0
    while True:
        sweep = cached_sweep(seed)
        yield {"raster": rasterize(sweep.xyz_m, sweep.intensity, lidar.CONFIG)[None]}
        seed += 1


def camera_frames() -> Iterator[dict[str, NDArray]]:
    """Yield images of simulated training scenes with their grids."""
    seed = camera.FIRST_SEED
    while True:
        picture = cached_picture(seed)
        grid = lift_grid(picture.geometry, camera.LIFT, camera.PLACEMENT)
        yield {"images": camera.image_tensor(picture.bgr)[None], "grid": grid}
        seed += 1


def _bundled(role: str, net: nn.Module) -> Made:
    return bundled(load_bundle(SET / role), net)


def bundled(bundle: Bundle, net: nn.Module) -> Made:
    """Return a network with the convolutions of a bundle, and the golden inputs."""
    inputs = read_golden(bundle)[0]
    role = bundle.manifest.role
    module = folded(TorchSource(name=role, module=net.eval(), inputs=inputs)).module
    _load(module, bundle, inputs)
    return module, inputs


def _load(module: nn.Module, bundle: Bundle, inputs: dict[str, NDArray]) -> None:
    """Copy the weights of the graph's layers, which stand in the order of running."""
    graph = graph_of(bundle.manifest.model, whole_model(bundle)).graph
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    given = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    layers: list[Any] = []
    hooks = [
        part.register_forward_hook(lambda part, _given, _made: layers.append(part))
        for part in module.modules()
        if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        module(*(torch.from_numpy(array) for array in inputs.values()))
        for hook in hooks:
            hook.remove()
        for layer, node in zip(layers, given, strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(weights[node.input[1]])))
            layer.bias.copy_(torch.from_numpy(np.array(weights[node.input[2]])))


class SmallLidarNet(LidarNet):
    """`LidarNet` with two thirds of the channels, to be taught by it."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.stem = nn.Sequential(ConvBlock(channels - 1, 12, stride=2), ConvBlock(12, 12))
        self.quarter = nn.Sequential(ConvBlock(12, 20, stride=2), Residual(20))
        self.eighth = nn.Sequential(ConvBlock(20, 40, stride=2), Residual(40), Residual(40, 2))
        self.up = ConvBlock(40, 20, kernel=1)
        self.merge = ConvBlock(40, 24)
        self.bev = ConvBlock(24, BEV_CHANNELS - 1, kernel=1)
        self.heads = Heads(BEV_CHANNELS - 1, classes, hidden=24)


def small_lidar_net() -> Made:
    """Return an untrained small LiDAR encoder, with the golden inputs of the bundled one."""
    torch.manual_seed(0)
    net = SmallLidarNet(len(lidar.CONFIG.channels), len(CLASSES))
    return net, read_golden(load_bundle(SET / "lidar"))[0]
