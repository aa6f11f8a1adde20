"""The networks of the bundled encoders with the bundled weights, for `edge-perception optimize`.

Batch norms are part of the convolutions, as in the bundles. From the repository root, where
PyTorch is: `edge-perception optimize prune training.variants:lidar --data
training.variants:lidar_frames …`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.models.golden import read_golden
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.optimize.shrinking import folded
from edge_perception.optimize.sources import TorchSource
from training import camera, lidar
from training.nets import BEV_CHANNELS, AudioNet, CameraNet, ConvBlock, Heads, LidarNet, Residual
from training.pictures import Picture, cached_picture, shrink
from training.samples import CLASSES, load_pandaset
from training.simulated import cached_any, cached_sweep
from training.sounds import CLASSES as SOUNDS

SET = Path("models/bev_lite")
SWEEPS, PICTURES = 300, 400  # rendered; more frames are made of them
Made = tuple[nn.Module, dict[str, NDArray]]


def lidar_net() -> Made:
    """Return the LiDAR encoder as it is bundled, with its golden inputs."""
    return _bundled("lidar", LidarNet(len(lidar.CONFIG.channels), len(CLASSES)))


def pruned_lidar_net() -> Made:
    """Return the LiDAR encoder that `optimize prune --name lidar_p --into training_out` made."""
    bundle = load_bundle(lidar.OUT / "lidar_p")
    graph = graph_of(bundle.manifest.model, whole_model(bundle)).graph
    weights = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy())
               for t in graph.initializer}  # fmt: skip
    wide = len(weights["eighth.0.0.weight"])
    net = LidarNet(len(lidar.CONFIG.channels), len(CLASSES), wide=wide).eval()
    inputs = read_golden(bundle)[0]
    module = folded(TorchSource(name="lidar", module=net, inputs=inputs)).module
    large = lidar_net()[0].state_dict()
    # What was pruned before 0.12 has no `facing`, which looks at a map that pruning leaves whole.
    module.load_state_dict({name: weights.get(name, large[name]) for name in module.state_dict()})
    return module, inputs


def camera_net() -> Made:
    """Return the camera encoder as it is bundled, with its golden inputs."""
    return _bundled("camera", CameraNet(len(CLASSES), len(camera.LIFT.heights_m)))


def audio_net() -> Made:
    """Return the audio encoder's network for single windows as it is bundled, with its input.

    It is the first part of the graph, before the head over time.
    """
    bundle = load_bundle(SET / "audio")
    inputs = {"log_mel": read_golden(bundle)[0]["log_mel"]}
    net = AudioNet(len(SOUNDS)).eval()
    module = folded(TorchSource(name="audio", module=net, inputs=inputs)).module
    _load(module, bundle, inputs, first_part=True)
    return module, inputs


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
    """Yield rasters of simulated training sweeps: as they are, then changed in many ways."""
    for seed in range(SWEEPS):
        sweep = cached_any(seed) if seed % 2 else cached_sweep(seed)
        yield {"raster": lidar.lidar_sample(sweep)["raster"][None]}
    folder = lidar.pandaset_folder()
    real = load_pandaset(folder, "001") if folder.is_dir() else []
    samples = lidar.LidarSamples(
        seed=2, frames=SWEEPS, real=real, real_share=0.1 if real else 0.0, any_share=0.5,
        fog_share=0.0,
    )  # fmt: skip
    for index in count():
        yield {"raster": samples[index]["raster"][None]}


def camera_frames() -> Iterator[dict[str, NDArray]]:
    """Yield images of simulated training scenes with their grids: as they are, then changed."""
    for seed in range(PICTURES):
        yield camera_frame(cached_picture(camera.FIRST_SEED + seed))
    for index in count():
        rng = np.random.default_rng([6, index])
        picture = cached_picture(camera.FIRST_SEED + int(rng.integers(PICTURES)))
        yield camera_frame(camera.augmented(shrink(picture, rng), rng))


def camera_frame(picture: Picture) -> dict[str, NDArray]:
    """Return the camera encoder's inputs: images (1, 3, 288, 512), grid (1, 288, 64, 2)."""
    grid = lift_grid(picture.geometry, camera.LIFT, camera.PLACEMENT)
    return {"images": camera.image_tensor(picture.bgr)[None], "grid": grid}


def _bundled(role: str, net: nn.Module) -> Made:
    return bundled(load_bundle(SET / role), net)


def bundled(bundle: Bundle, net: nn.Module) -> Made:
    """Return a network with the convolutions of a bundle, and the golden inputs."""
    inputs = read_golden(bundle)[0]
    role = bundle.manifest.role
    module = folded(TorchSource(name=role, module=net.eval(), inputs=inputs)).module
    _load(module, bundle, inputs)
    return module, inputs


def _load(
    module: nn.Module, bundle: Bundle, inputs: dict[str, NDArray], *, first_part: bool = False
) -> None:
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
        if first_part:
            given = given[: len(layers)]
        for layer, node in zip(layers, given, strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(weights[node.input[1]])))
            layer.bias.copy_(torch.from_numpy(np.array(weights[node.input[2]])))


class TinyLidarNet(nn.Module):
    """`LidarNet` with what costs least for its time: about half of it.

    No second layers at a half and a quarter of the size; sums in the place of stacks; widths of
    16 and its multiples, as processors have registers of 16 numbers. The ground height is a channel
    that the first layer does not look at, in the place of a copy without it.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvBlock(channels, 16, stride=2)
        self.quarter = ConvBlock(16, 32, stride=2)
        self.eighth = nn.Sequential(ConvBlock(32, 64, stride=2), Residual(64, 2))
        self.up = ConvBlock(64, 32, kernel=1)
        self.merge = ConvBlock(32, 32)
        self.bev = ConvBlock(32, 32, kernel=1)
        self.heads = Heads(32, classes, around=32)

    def forward(self, raster: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return bev, heatmap logits, boxes."""
        ground = functional.avg_pool2d(raster[:, -1:], 4)
        quarter = self.quarter(self.stem(raster))
        context = functional.interpolate(
            self.up(self.eighth(quarter)), scale_factor=2, mode="nearest"
        )
        around = self.merge(quarter + context)
        seen = self.bev(around)
        heat, box = self.heads(seen, around, ground)
        return torch.cat([seen[:, : BEV_CHANNELS - 1], ground], dim=1), heat, box


class TinyCameraNet(CameraNet):
    """`CameraNet` with its map at half the size, four cells at a time: about half of the time."""

    def __init__(self, classes: int, layers: int) -> None:
        super().__init__(classes, layers)
        self.eighth = nn.Sequential(ConvBlock(24, 48, stride=2), nn.Identity())
        self.sixteenth = nn.Sequential(ConvBlock(48, 64, stride=2), Residual(64, 2))
        self.fine = nn.Identity()
        self.mix = nn.Sequential(ConvBlock(24 * layers + 4, 48), Residual(48, 2))
        self.bev = nn.Sequential(nn.Conv2d(48, 4 * BEV_CHANNELS, 1), nn.PixelShuffle(2), nn.ReLU())

    def lifted(self, features: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return bev, heatmap logits, boxes of image features."""
        rows, columns = self.shape
        whole = grid.reshape(-1, self.layers, rows, columns, 2)
        half = whole[:, :, ::2, ::2].reshape(-1, self.layers * rows // 2, columns // 2, 2)
        lifted = functional.grid_sample(features, half, mode="bilinear", align_corners=False)
        lifted = lifted.reshape(-1, 24 * self.layers, rows // 2, columns // 2)
        place = self.place(grid)[:, :, ::2, ::2]
        bev = self.bev(self.mix(torch.cat([lifted, place], dim=1)))
        heat, box = self.heads(bev)
        return bev, heat, box


def tiny_lidar_net() -> Made:
    """Return a small LiDAR encoder that begins with what the bundled one has of it."""
    module, inputs = lidar_net()
    torch.manual_seed(0)
    return _begun(TinyLidarNet(len(lidar.CONFIG.channels), len(CLASSES)), module, inputs, {
        "stem": "stem.0", "quarter": "quarter.0", "eighth.1": "eighth.2",
    })  # fmt: skip


def tiny_camera_net() -> Made:
    """Return a small camera encoder that begins with what the bundled one has of it."""
    module, inputs = camera_net()
    torch.manual_seed(0)
    net = TinyCameraNet(len(CLASSES), len(camera.LIFT.heights_m))
    return _begun(net, module, inputs, {"sixteenth.1": "sixteenth.2", "mix.1": "mix.2"})


def _begun(
    net: nn.Module, large: nn.Module, inputs: dict[str, NDArray], from_: Mapping[str, str]
) -> Made:
    """Return a net, its batch norms folded, with the weights of a large one as far as they fit.

    Args:
        net: the small one.
        large: folded.
        inputs: of both.
        from_: modules of the large one for those of the small one, where the names differ.
    """
    small = folded(TorchSource(name="tiny", module=net.eval(), inputs=inputs)).module
    weights = large.state_dict()
    taken = small.state_dict()
    for name, mine in taken.items():
        source = name
        for own, theirs in from_.items():
            if name.startswith(f"{own}."):
                source = theirs + name.removeprefix(own)
        given = weights.get(source)
        if given is None or given.dim() != mine.dim():
            continue
        if given.dim() == 4 and given.shape[2:] != mine.shape[2:]:
            continue
        both = tuple(slice(min(m, g)) for m, g in zip(mine.shape, given.shape, strict=True))
        if mine.dim() == 4 and given.shape[1] < mine.shape[1]:
            mine[:, given.shape[1] :] = 0.0  # channels that the large one does not look at
        mine[both] = given[both]
    small.load_state_dict(taken)
    return small, inputs
