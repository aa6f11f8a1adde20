"""Learn which end of a box is its front, and nothing else: `python -m training.facing lidar`.

The rest of a network is kept, so its features and scores stay what they are. What `facing` looks at
around the centres of objects is cut out of the maps of many samples once, and taught for many
steps: whole networks see a tenth of the objects in the same time, and learn one end for all.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from training import camera, fusion, lidar
from training.audio import HELD_OUT as AUDIO_HELD_OUT
from training.nets import FusionNet, LidarNet, load_weights
from training.samples import CLASSES
from training.scenes import Encoders
from training.simulated import cached_any, cached_sweep
from training.sounds import CLASSES as SOUNDS

_AROUND = 2  # cells to each side that `facing` sees
_BESIDE = 0.3  # of the cells beside a centre: they look alike
_BATCH = 256
_JUDGED = 0.1  # of the samples, the last ones: not taught
# People have no front that these sensors see; it would be noise among the cars.
_TAUGHT = tuple(k for k, name in enumerate(CLASSES) if name != "pedestrian")


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What is seen around cells that hold an object, and which way it faces."""

    around: NDArray[np.float16]  # (N, C, 5, 5)
    axis: NDArray[np.float32]  # (N, 2), sine and cosine as the network tells the axis
    heading: NDArray[np.float32]  # (N, 2), of the truth
    weight: NDArray[np.float32]  # (N,), 1 at the centre, less beside it
    label: NDArray[np.int64]  # (N,)
    sample: NDArray[np.int64]  # (N,)


def gather(net: nn.Module, data: Dataset, samples: int, inputs: tuple[str, ...]) -> Cells:
    """Return the cells of so many samples.

    Args:
        net: with `heads`.
        data: samples with the targets of `make_targets`; sample i depends on i alone.
        samples: how many.
        inputs: names of what the network takes, in order.
    """
    kept: dict[str, Tensor] = {}
    heads: Any = net.heads
    hooks = [
        heads.facing.register_forward_pre_hook(lambda _part, given: kept.update(around=given[0])),
        heads.box.register_forward_hook(lambda _part, _given, made: kept.update(box=made)),
    ]
    rows: list[tuple[NDArray, ...]] = []
    loader = DataLoader(Subset(data, range(samples)), batch_size=4, num_workers=1)
    with torch.no_grad():
        for batch in loader:
            net(*(batch[name] for name in inputs))
            around = functional.pad(kept["around"], [_AROUND] * 4).numpy()
            for k in range(len(around)):
                target = {name: batch[name][k].numpy() for name in ("heat", "box", "box_mask")}
                rows.append(_rows(around[k], kept["box"][k, 6:8].numpy(), target, len(rows)))
            if len(rows) % 400 < len(around):
                print(f"samples {len(rows)}/{samples}", flush=True)
    for hook in hooks:
        hook.remove()
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    names = ("around", "axis", "heading", "weight", "label", "sample")
    return Cells(**dict(zip(names, columns, strict=True)))


def _rows(
    around: NDArray, axis: NDArray, target: Mapping[str, NDArray], sample: int
) -> tuple[NDArray, ...]:
    """Return the cells of one sample."""
    rng = np.random.default_rng([7, sample])
    mask = target["box_mask"]
    at = np.argwhere((mask == 1.0) | ((mask > 0.0) & (rng.random(mask.shape) < _BESIDE)))
    label = target["heat"].argmax(axis=0)[at[:, 0], at[:, 1]]
    at, label = at[np.isin(label, _TAUGHT)], label[np.isin(label, _TAUGHT)]
    i, j = at.T
    size = 2 * _AROUND + 1
    windows = [around[:, a : a + size, b : b + size] for a, b in at]
    return (
        np.array(windows, np.float16).reshape(-1, len(around), size, size),
        axis[:, i, j].T, target["box"][6:8, i, j].T, target["box_mask"][i, j],
        label, np.full(len(at), sample),
    )  # fmt: skip


def teach(facing: nn.Module, cells: Cells, *, steps: int, learning_rate: float) -> nn.Module:
    """Return `facing`, taught; prints which share of the cells it was not taught it gets right."""
    inner = copy.deepcopy(facing).train()
    for part in inner.modules():
        if isinstance(part, nn.Conv2d):
            part.padding = (0, 0)  # a window is all that the cell in its middle sees
    along = (cells.axis * cells.heading).sum(axis=1)
    judged = cells.sample >= (1.0 - _JUDGED) * (cells.sample.max() + 1)
    taught = np.flatnonzero(~judged & (np.abs(along) > 0.7))  # elsewhere the axis is wrong
    optimizer = torch.optim.AdamW(inner.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
    rng = np.random.default_rng(3)
    counts = np.bincount(cells.label[taught], minlength=len(CLASSES))
    rare = 1.0 / np.sqrt(np.maximum(counts, 1))
    share = rare[cells.label[taught]] / rare[cells.label[taught]].sum()
    for step in range(1, steps + 1):
        index = np.sort(rng.choice(taught, _BATCH, p=share))
        sure = _sure(inner, cells, index) * torch.from_numpy(np.sign(along[index]))
        weight = torch.from_numpy(cells.weight[index])
        loss = (functional.softplus(-sure) * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == steps:
            print(f"step {step}/{steps} loss {loss.item():.3f} {_right(inner, cells, judged)}",
                  flush=True)  # fmt: skip
    facing.load_state_dict(inner.state_dict())
    return facing.eval()


def _sure(inner: nn.Module, cells: Cells, index: NDArray) -> Tensor:
    around = torch.from_numpy(cells.around[index].astype(np.float32))
    vector = inner(around)[:, :, 0, 0]
    return (vector * torch.from_numpy(cells.axis[index])).sum(dim=1)


def _right(inner: nn.Module, cells: Cells, judged: NDArray[np.bool_]) -> str:
    """Say for each class which share of its judged centres are right."""
    inner.eval()
    index = np.flatnonzero(judged & (cells.weight == 1.0))
    with torch.no_grad():
        sure = _sure(inner, cells, index).numpy()
    inner.train()
    right = (sure > 0) == ((cells.axis[index] * cells.heading[index]).sum(axis=1) > 0)
    labels = cells.label[index]
    return " ".join(
        f"{CLASSES[k]} {right[labels == k].mean():.3f} of {(labels == k).sum()}"
        for k in _TAUGHT
        if (labels == k).any()
    )


def main() -> None:
    """Teach, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("lidar", "camera", "fusion"))
    parser.add_argument("--start", required=True, help="weights to begin with, of training_out")
    parser.add_argument("--name", required=True)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--held-out", type=int, default=70, help="simulated scenes to judge on")
    parser.add_argument("--scenes", type=int, default=800, help="of fusion")
    for role in ("lidar", "camera", "audio"):
        parser.add_argument(f"--{role}", help="encoder of the scenes of fusion")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net, data, inputs, evaluate = _ROLES[arguments.role](arguments)
    net.eval()
    cells = gather(net, data, arguments.samples, inputs)
    print(f"{len(cells.label)} cells", flush=True)
    teach(net.heads.facing, cells, steps=arguments.steps, learning_rate=arguments.learning_rate)
    torch.save(net.state_dict(), lidar.OUT / f"{arguments.name}.pt")
    before = json.loads((lidar.OUT / f"{arguments.start}_report.json").read_text())
    report = with_scores_of(before, evaluate(net))
    (lidar.OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))


def with_scores_of(before: dict, report: dict) -> dict:
    """Return a report with what was fitted to scores before: they are the same."""
    if "calibration" in before:
        return {**report, "calibration": before["calibration"]}
    title = "simulated_held_out"
    return {**report, title: {**report[title], "subsets": before[title]["subsets"]}}


class Sweeps(Dataset):
    """Augmented sweeps, and as many as the sensor gives them."""

    def __init__(self) -> None:
        self._real = lidar.load_pandaset(lidar.pandaset_folder(), "001")
        self._changed = lidar.LidarSamples(
            seed=3, frames=4000, real=self._real, real_share=0.3, any_share=0.75, fog_share=0.0
        )

    def __len__(self) -> int:
        return len(self._changed)

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        if index % 2:
            return self._changed[index]
        number = index // 2
        return lidar.lidar_sample((cached_sweep if number % 5 < 2 else cached_any)(number))


def _lidar(arguments: argparse.Namespace) -> tuple[Any, ...]:
    net = LidarNet(len(lidar.CONFIG.channels), len(CLASSES))
    load_weights(net, _weights(arguments.start))
    data = Sweeps()

    def evaluate(net: nn.Module) -> dict:
        report = lidar.evaluate(net)
        lidar.print_report(report)
        return report

    return net, data, ("raster",), evaluate


def _camera(arguments: argparse.Namespace) -> tuple[Any, ...]:
    net = camera.network(arguments.start, photo=False)
    data = camera.CameraSamples(frames=5000, real=camera.real_pictures("001"), real_share=0.15)

    def evaluate(net: nn.Module) -> dict:
        report = camera.evaluate(net, camera.HELD_OUT[: arguments.held_out])
        camera.print_report(report)
        return report

    return net, data, ("image", "grid"), evaluate


def _fusion(arguments: argparse.Namespace) -> tuple[Any, ...]:
    net = FusionNet(len(CLASSES), len(SOUNDS))
    load_weights(net, _weights(arguments.start))
    encoders = Encoders({role: getattr(arguments, role) for role in ("lidar", "camera", "audio")})
    embeddings, sounds = fusion.heard(encoders, 1500, AUDIO_HELD_OUT // 2)
    scenes = fusion.training_scenes(
        encoders, frames=arguments.scenes, lidar_frames=arguments.scenes // 2, real_variants=60
    )
    data = fusion.FusionSamples(scenes, embeddings, sounds.astype(np.float32))

    def evaluate(net: nn.Module) -> dict:
        seeds = fusion.HELD_OUT[: arguments.held_out]
        report = fusion.evaluated(net, encoders, embeddings, seeds)
        for title, entry in report.items():
            fusion.print_fusion(title, entry)
        return report

    return net, data, ("camera", "lidar", "embedding", "presence"), evaluate


def _weights(name: str) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(lidar.OUT / f"{name}.pt", weights_only=True)
    return weights


_ROLES = {"lidar": _lidar, "camera": _camera, "fusion": _fusion}


if __name__ == "__main__":
    main()
