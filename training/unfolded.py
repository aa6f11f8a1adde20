"""The weights of the bundled set as trainable ones: `python -m training.unfolded`.

In the bundles batch norms are part of the convolutions. Training goes on better with norms, so
they are made again: with the statistics of some frames, and so that the network says the same. What
no bundle has (the camera's heads on the image) begins anew. Written are `<role>_bundled.pt`, for
`--start` of the training commands and for those that take encoders.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from edge_perception.encoders.lidar.preprocess import rasterize
from edge_perception.models.manifest import load_bundle
from training.audio import AudioSamples
from training.camera import LIFT
from training.finetune import fusion_net
from training.lidar import CONFIG, OUT
from training.nets import AudioNet, CameraNet, FusionNet, LidarNet
from training.pictures import cached_surround
from training.samples import CLASSES
from training.simulated import cached_sweep
from training.sounds import CLASSES as SOUNDS
from training.variants import (
    SET,
    audio_net,
    camera_frame,
    camera_net,
    lidar_frames,
    lidar_net,
)

Batch = tuple[Tensor, ...]
FIRST_SEED = 10_000  # scenes whose frames the statistics are of


def unfold(net: nn.Module, module: nn.Module, batches: Sequence[Batch]) -> None:
    """Give a network the weights of its copy without batch norms; both then say the same.

    Args:
        net: with batch norms; changed.
        module: the copy, whose norms are part of its convolutions; layers have the same names.
        batches: inputs that the statistics of the norms are taken from.
    """
    net.eval()
    given = module.state_dict()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name in given and given[name].shape == value.shape:
                value.copy_(given[name])
        norms = _norms(net, batches[0])
        for name, norm in norms.items():
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)
            norm.weight.fill_(1.0)
            norm.bias.copy_(given[f"{name}.bias"])
        _measure(norms, net, batches)


def _norms(net: nn.Module, batch: Batch) -> dict[str, Any]:
    """Return the batch norm behind each convolution that has one and runs."""
    ran: list[tuple[str, nn.Module]] = []
    hooks = [
        part.register_forward_hook(lambda part, _given, _made, name=name: ran.append((name, part)))
        for name, part in net.named_modules()
        if isinstance(part, (nn.Conv2d, nn.BatchNorm2d))
    ]
    net(*batch)
    for hook in hooks:
        hook.remove()
    pairs = pairwise(ran)
    return {name: after for (name, _), (_, after) in pairs if isinstance(after, nn.BatchNorm2d)}


def _measure(norms: Mapping[str, Any], net: nn.Module, batches: Sequence[Batch]) -> None:
    """Set norms to the statistics of their inputs; what the network says stays the same."""
    sums = {name: torch.zeros(2, norm.num_features) for name, norm in norms.items()}
    hooks = []
    for name in norms:

        def add(_part: Any, _given: Any, made: Tensor, name: str = name) -> None:
            sums[name] += torch.stack([made.mean((0, 2, 3)), (made**2).mean((0, 2, 3))])

        hooks.append(net.get_submodule(name).register_forward_hook(add))
    for batch in batches:
        net(*batch)
    for hook in hooks:
        hook.remove()
    for name, norm in norms.items():
        mean, square = sums[name] / len(batches)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean**2).clamp(min=1e-4))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.add_(mean)


def camera(scenes: int) -> CameraNet:
    """Return the camera encoder; statistics of all views of so many scenes."""
    net = CameraNet(len(CLASSES), len(LIFT.heights_m))
    seeds = range(FIRST_SEED, FIRST_SEED + scenes)
    frames = [camera_frame(picture) for seed in seeds for picture in cached_surround(seed)]
    unfold(net, camera_net()[0], [tuple(map(torch.from_numpy, f.values())) for f in frames])
    return net


def lidar(sweeps: int) -> LidarNet:
    """Return the LiDAR encoder; statistics of so many sweeps."""
    net = LidarNet(len(CONFIG.channels), len(CLASSES))
    frames = islice(lidar_frames(), sweeps)
    unfold(net, lidar_net()[0], [tuple(map(torch.from_numpy, f.values())) for f in frames])
    return net


def audio(windows: int) -> AudioNet:
    """Return the audio encoder; statistics of so many windows."""
    net, data = AudioNet(len(SOUNDS)), AudioSamples()
    patches = [data[index]["patch"] for index in range(windows)]
    unfold(net, audio_net()[0], [(torch.from_numpy(patch[None]),) for patch in patches])
    return net


def fusion(scenes: int) -> FusionNet:
    """Return the fusion model; statistics of so many scenes, with all sensors and without some."""
    net = FusionNet(len(CLASSES), len(SOUNDS))
    batches = list(_joined(scenes))
    unfold(net, fusion_net(load_bundle(SET / "fusion")), batches)
    return net


def _joined(scenes: int) -> Iterator[Batch]:
    """Yield the fusion model's inputs of scenes, made by the bundled encoders."""
    masks = ((1.0, 1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    see, range_ = camera_net()[0], lidar_net()[0]
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        frame = camera_frame(cached_surround(seed, [0])[0])
        sweep = cached_sweep(seed)
        raster = rasterize(sweep.xyz_m, sweep.intensity, CONFIG)[None]
        with torch.no_grad():
            camera_bev = see(*map(torch.from_numpy, frame.values()))[0]
            lidar_bev = range_(torch.from_numpy(raster))[0]
        yield camera_bev, lidar_bev, torch.zeros(1, 32), torch.tensor([masks[seed % 3]])


def main() -> None:
    """Write the weights of all roles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=16)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    makers = {"camera": camera, "lidar": lidar, "audio": audio, "fusion": fusion}
    for role, make in makers.items():
        torch.save(make(arguments.scenes).state_dict(), OUT / f"{role}_bundled.pt")


if __name__ == "__main__":
    main()
