"""Weights of a pruned network in closed form, without steps of training.

For `edge-perception optimize prune --train training.reconstruction:lidar` (or `:camera`). Layer by
layer, in the order of running, the weights become those with which the layer says most nearly what
it said before channels were removed, of what the layers before it say now: ridge regression towards
the weights that are left (He et al., "Channel pruning for accelerating very deep neural networks",
2017, and Luo et al., "ThiNet", 2017; here of all layers, not only those after removed ones).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.nets import Residual
from training.variants import camera_frames, camera_net, lidar_frames, lidar_net

FRAMES = 60  # some thousand places each
_RIDGE = 1e-3  # of the mean square of what a layer is given
_NEAR_OBJECTS = 20.0  # times the weight of the rest of the map
_REACH = 9  # cells around an object's centre that are near to it
Frame = dict[str, NDArray]


def lidar(module: nn.Module) -> nn.Module:
    """Give a pruned LiDAR encoder its weights."""
    return reconstructed(module, lidar_net()[0], _some(lidar_frames))


def camera(module: nn.Module) -> nn.Module:
    """Give a pruned camera encoder its weights."""
    return reconstructed(module, camera_net()[0], _some(camera_frames))


def _some(frames: Callable[[], Iterator[Frame]]) -> list[Frame]:
    return list(islice(frames(), FRAMES))


def reconstructed(module: nn.Module, large: nn.Module, frames: Sequence[Frame]) -> nn.Module:
    """Give a pruned network the weights with which its layers say most nearly what they said.

    Args:
        module: pruned, with weights of the large one, batch norms folded; changed in place.
        large: as it was before.
        frames: graph inputs.

    Returns:
        The module, in eval mode.
    """
    module.eval()
    large.eval()
    layers = dict(module.named_modules())
    with torch.no_grad():
        told = [_run(large, frame) for frame in frames]
        heats = [told_of_one[1][1] for told_of_one in told]
        for name in told[0][0]:
            kept = _kept(layers[name], large.get_submodule(name))
            sums: Any = 0.0
            for frame, (wanted, _), heat in zip(frames, told, heats, strict=True):
                given, already = _given(module, frame, name)
                target = wanted[name][:, kept] - already
                sums = sums + _normal(layers[name], given, target, _weights(heat, target))
            _solve(layers[name], sums)
    return module


def _run(module: nn.Module, frame: Frame) -> tuple[dict[str, Tensor], Any]:
    """Return what each convolution says, in the order of running, and the outputs.

    Of the second convolution of a residual block it is the sum with what goes around it.
    """
    said: dict[str, Tensor] = {}
    around: dict[str, Tensor] = {}
    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, Residual):

            def note_around(_part: Any, given: Any, name: str = name) -> None:
                around[f"{name}.second"] = given[0].clone()

            hooks.append(part.register_forward_pre_hook(note_around))
        elif isinstance(part, nn.Conv2d):

            def note(_part: Any, _given: Any, made: Tensor, name: str = name) -> None:
                said[name] = made + around[name] if name in around else made.clone()

            hooks.append(part.register_forward_hook(note))
    try:
        outputs = module(*(torch.from_numpy(array) for array in frame.values()))
    finally:
        for hook in hooks:
            hook.remove()
    return said, outputs


class _ReachedError(Exception):
    """The layer that was waited for was reached; what comes after it is not needed."""


def _given(module: nn.Module, frame: Frame, name: str) -> tuple[Tensor, Tensor | float]:
    """Return what a layer is given now, and what is added to what it says."""
    given: list[Tensor] = []
    around: list[Tensor] = []
    block = module.get_submodule(name.rpartition(".")[0])
    hooks = []
    if isinstance(block, Residual) and name.endswith(".second"):
        hooks.append(block.register_forward_pre_hook(lambda _p, x: around.append(x[0].clone())))

    def reach(_part: Any, x: Any) -> None:
        given.append(x[0].clone())
        raise _ReachedError

    hooks.append(module.get_submodule(name).register_forward_pre_hook(reach))
    try:
        module(*(torch.from_numpy(array) for array in frame.values()))
    except _ReachedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return given[0], around[0] if around else 0.0


def _kept(layer: nn.Module, large: nn.Module) -> list[int]:
    """Return which channels of a layer are left: their biases are the same, in the same order."""
    left, all_of_it = (np.asarray(part.bias.detach()).tolist() for part in (layer, large))
    found, start = [], 0
    for bias in left:
        start = all_of_it.index(bias, start) + 1
        found.append(start - 1)
    return found


def _weights(heat: Tensor, target: Tensor) -> Tensor:
    """Return how much each place of a map counts, (rows * columns,); of the image all do alike."""
    near = functional.max_pool2d(heat.sigmoid().amax(1, keepdim=True), _REACH, 1, _REACH // 2)
    rows, columns = target.shape[2:]
    if rows * heat.shape[3] != columns * heat.shape[2]:  # not of the same ground
        return torch.ones(rows * columns)
    return 1.0 + _NEAR_OBJECTS * functional.interpolate(near, (rows, columns)).flatten()


def _normal(layer: Any, given: Tensor, target: Tensor, weights: Tensor) -> NDArray[np.float64]:
    """Return the sums of the normal equations of a frame: (inputs + 1, inputs + 1 + outputs)."""
    patches = functional.unfold(
        given, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )[0]
    rows = torch.cat([patches, torch.ones(1, patches.shape[1])])
    both = torch.cat([rows, target[0].flatten(1)])
    return ((rows * weights) @ both.T).numpy().astype(np.float64)


def _solve(layer: Any, sums: NDArray[np.float64]) -> None:
    """Put the weights into a layer that fit best, near those that it has."""
    size = sums.shape[0]
    square, wanted = sums[:, :size], sums[:, size:]
    before = torch.cat([layer.weight.flatten(1), layer.bias[:, None]], 1).T.numpy()
    before = before.astype(np.float64)
    ridge = _RIDGE * np.trace(square) / size * np.eye(size)
    after = before + np.linalg.solve(square + ridge, wanted - square @ before)
    layer.weight.copy_(torch.from_numpy(after[:-1].T.reshape(layer.weight.shape)))
    layer.bias.copy_(torch.from_numpy(after[-1]))
