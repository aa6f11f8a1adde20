"""Train the LiDAR encoder: `python -m training.lidar`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from edge_perception.core.types import DetectedObject
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing
from edge_perception.models.adapters.bev_center import BevCenterDecoder, BevCenterOptions
from edge_perception.simulation.scenario import random_scenario
from training import augment
from training.calibrate import calibration
from training.loop import Plan, between, train
from training.metrics import AHEAD, Region, Truth, best_threshold, evaluate_class
from training.nets import LidarNet, load_weights
from training.rasters import raster_and_counts
from training.samples import CLASSES, Sweep, load_pandaset
from training.simulated import HELD_OUT_SEED, cached_any, cached_sweep
from training.spoiled import spoil
from training.targets import detection_loss, make_targets

LEAST_POINTS = 5
OUT = Path("training_out")
# The median of PandaSet's and the simulator's sweeps. What is brighter than the limit is rare
# there, and is anything elsewhere: a sign, a number plate, a coat.
CONFIG = LidarPreprocessing(intensity_median=0.035, intensity_limit=0.1)


def pandaset_folder() -> Path:
    """Return where the recordings lie."""
    return Path(os.environ.get("EDGE_PERCEPTION_DATA", "../shared/data")) / "pandaset"


class LidarSamples(Dataset):
    """Augmented sweeps; sample i depends on i and the seed alone.

    Args:
        seed: of all samples.
        frames: scenes of the simulator to draw from.
        real: recorded sweeps.
        real_share: of the samples that begin with a recorded sweep.
        any_share: of the simulated ones whose sensor is of any make, among obstacles.
        fog_share: of the simulated ones that are drawn among those in fog.
    """

    def __init__(
        self,
        *,
        seed: int,
        frames: int,
        real: Sequence[Sweep],
        real_share: float,
        any_share: float,
        fog_share: float,
    ) -> None:
        self._seed = seed
        self._frames = frames
        self._real = real
        self._real_share = real_share
        self._any_share = any_share
        self._fog_share = fog_share
        self._foggy = [n for n in range(frames) if random_scenario(n).weather == "fog"]
        self._cutouts = augment.collect_cutouts(real)

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self._seed, index])
        is_real = rng.random() < self._real_share
        sweep = self._draw(rng, is_real=is_real)
        sweep = augment.augment(sweep, self._cutouts, rng, paste_up_to=20 if is_real else 8)
        if rng.random() < 0.3:
            other = augment.augment(self._draw(rng, is_real=not is_real), self._cutouts, rng)
            sweep = augment.mix_sectors(sweep, other, rng)
        return lidar_sample(spoil(sweep, rng) if self._any_share else sweep)

    def _draw(self, rng: np.random.Generator, *, is_real: bool) -> Sweep:
        if is_real and self._real:
            return self._real[rng.integers(len(self._real))]
        number = int(rng.integers(self._frames))
        if rng.random() < self._fog_share:
            number = self._foggy[rng.integers(len(self._foggy))]
        return (cached_any if rng.random() < self._any_share else cached_sweep)(number)


def lidar_sample(sweep: Sweep) -> dict[str, np.ndarray]:
    """Return raster and targets of a sweep."""
    raster, points = raster_and_counts(sweep, CONFIG)
    return {"raster": raster, **make_targets(sweep.boxes, sweep.labels, points >= LEAST_POINTS)}


def lidar_loss(
    net: nn.Module, batch: dict[str, Tensor], *, half: bool = False
) -> dict[str, Tensor]:
    """Return heatmap and box loss of a batch; `half`: the network in bfloat16."""
    raster = batch["raster"].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        _, heat, box = net(raster)
    heat_loss, box_loss = detection_loss(heat.float(), box.float(), batch)
    return {"heat": heat_loss, "box": 0.5 * box_loss}


def detect(
    net: nn.Module, sweeps: Sequence[Sweep], options: BevCenterOptions
) -> list[tuple[Truth, Sequence[DetectedObject]]]:
    """Return truth and detections of sweeps."""
    decoder = BevCenterDecoder(options, CLASSES)
    frames = []
    with torch.no_grad():
        for sweep in sweeps:
            raster, points = raster_and_counts(sweep, CONFIG)
            _, heat, box = net(torch.from_numpy(raster)[None])
            found = decoder({"heatmap": heat.numpy(), "boxes": box.numpy()}, None).objects
            frames.append((Truth(boxes=sweep.boxes, labels=sweep.labels, points=points), found))
    return frames


def evaluate(net: nn.Module, thresholds: dict[str, float] | None = None) -> dict:
    """Return metrics on held-out simulated sweeps and on both PandaSet sequences."""
    sets = {
        "simulated_held_out": [cached_sweep(HELD_OUT_SEED + i) for i in range(100)],
        "any_held_out": [cached_any(HELD_OUT_SEED + i) for i in range(100)],
        "pandaset_001_trained_on": load_pandaset(pandaset_folder(), "001"),
        "pandaset_002_held_out": load_pandaset(pandaset_folder(), "002"),
    }
    low = BevCenterOptions(score_threshold=0.05, ego_radius_m=1.5)
    found = {name: detect(net, sweeps, low) for name, sweeps in sets.items()}
    if thresholds is None:
        tuned = found["simulated_held_out"] + found["any_held_out"]
        tuned = tuned + found["pandaset_001_trained_on"] * 5
        thresholds = {
            name: best_threshold(k, tuned, region=Region()) for k, name in enumerate(CLASSES)
        }
    report: dict = {
        "thresholds": thresholds,
        "calibration": calibration(found["simulated_held_out"]),
    }
    for name, frames in found.items():
        kept = [(t, [d for d in ds if d.score >= thresholds[d.class_name]]) for t, ds in frames]
        report[name] = {
            area: {
                CLASSES[k]: {
                    "ap": evaluate_class(k, frames, region=region)["ap"],
                    **{
                        m: v for m, v in evaluate_class(k, kept, region=region).items() if m != "ap"
                    },
                }
                for k in range(len(CLASSES))
            }
            for area, region in (("all", Region()), ("ahead_40m", AHEAD))
        }
    return report


def print_report(report: dict) -> None:
    """Print what matters of `evaluate`."""
    print("thresholds", report["thresholds"])
    for name, areas in report.items():
        if name in ("thresholds", "calibration"):
            continue
        for area, classes in areas.items():
            cells = [
                f"{label} ap {m['ap']:.2f} r {m['recall']:.2f} p {m['precision']:.2f} "
                f"n {m['wanted']} front {m['front']:.2f}"
                for label, m in classes.items()
                if m["wanted"]
            ]
            print(f"{name:24s} {area:9s} {' | '.join(cells)}", flush=True)


def trained(net: nn.Module, arguments: argparse.Namespace) -> nn.Module:
    """Train a network, and return the average of its weights on the way."""
    if arguments.start:
        load_weights(net, torch.load(OUT / f"{arguments.start}.pt", weights_only=True))
    data = LidarSamples(
        seed=1, frames=arguments.frames, real=load_pandaset(pandaset_folder(), "001"),
        real_share=arguments.real_share, any_share=arguments.any_share,
        fog_share=arguments.fog_share,
    )  # fmt: skip
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=arguments.learning_rate, folder=OUT, workers=arguments.workers,
    )  # fmt: skip
    return train(plan, net, data, partial(lidar_loss, half=arguments.half))


def main() -> None:
    """Train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=700, help="simulated sweeps to train on")
    parser.add_argument("--real-share", type=float, default=0.4)
    parser.add_argument("--any-share", type=float, default=0.7, help="sensors of any make")
    parser.add_argument("--fog-share", type=float, default=0.0, help="drawn among scenes in fog")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--start", help="weights to begin with, of training_out")
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples")
    parser.add_argument("--half", action="store_true", help="bfloat16: a processor with AVX-512")
    parser.add_argument("--name", default="lidar")
    parser.add_argument("--mean", nargs=2, help="no training: the weights between these two")
    parser.add_argument("--share", type=float, default=0.5, help="of the second of them")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = LidarNet(len(CONFIG.channels), len(CLASSES)).to(memory_format=torch.channels_last)
    if arguments.mean:
        net.load_state_dict(between(OUT, *arguments.mean, share=arguments.share))
        average: nn.Module = net.eval()
    else:
        average = trained(net, arguments)
    report = evaluate(average)
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    print_report(report)


if __name__ == "__main__":
    main()
