"""Train the fusion model on the features of trained encoders: `python -m training.fusion`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from edge_perception.core.types import DetectedObject
from edge_perception.models.adapters.bev_center import BevCenterDecoder, BevCenterOptions
from training.audio import HELD_OUT as AUDIO_HELD_OUT
from training.audio import AudioSamples
from training.calibrate import calibration
from training.camera import HELD_OUT
from training.lidar import OUT
from training.loop import Plan, between, train
from training.metrics import AHEAD, Region, Truth, best_threshold, evaluate_class
from training.nets import FusionNet, load_weights
from training.samples import CLASSES
from training.scenes import (
    ALL_AROUND,
    FRONT,
    LIDAR_SCENES_SEED,
    SCENES_SEED,
    Encoders,
    Features,
    Scene,
    lidar_features,
    real_features,
    scene_features,
)
from training.simulated import CACHE
from training.sounds import CLASSES as SOUNDS
from training.targets import detection_loss, make_targets

# camera, lidar, audio: every subset of the modalities, and how often it is trained.
SUBSETS = {
    "camera+lidar+audio": ((1, 1, 1), 0.27),
    "camera+lidar": ((1, 1, 0), 0.13),
    "lidar+audio": ((0, 1, 1), 0.10),
    "lidar": ((0, 1, 0), 0.10),
    "camera+audio": ((1, 0, 1), 0.18),
    "camera": ((1, 0, 0), 0.18),
    "audio": ((0, 0, 1), 0.04),
}

UNSEEN_WEIGHT = 0.2  # of "no object" in cells that no camera looks into, without a LiDAR

SOUNDS_CACHE = CACHE.with_name("heard")


class FusionSamples(Dataset):
    """Features with modality dropout; sample i depends on i alone."""

    def __init__(self, scenes: Sequence[Scene], embeddings: NDArray, sounds: NDArray) -> None:
        self._scenes = scenes
        self._embeddings = embeddings
        self._sounds = sounds
        self._subsets = [mask for mask, _ in SUBSETS.values()]
        self._shares = np.array([share for _, share in SUBSETS.values()])

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        rng = np.random.default_rng([9, index])
        scene = self._scenes[rng.integers(len(self._scenes))]
        item = scene.features(scene.cameras(rng))
        heard = int(rng.integers(len(self._embeddings)))
        shares = self._shares * [bool(scene.views) or not mask[0] for mask in self._subsets]
        mask = self._subsets[rng.choice(len(self._subsets), p=shares / shares.sum())]
        return {
            "camera": item.camera.astype(np.float32),
            "lidar": item.lidar.astype(np.float32),
            "embedding": self._embeddings[heard],
            "sounds": self._sounds[heard],
            "presence": np.array(mask, np.float32),
            **fusion_targets(item, mask),
        }


def fusion_targets(item: Features, mask: tuple[int, ...]) -> dict[str, NDArray]:
    """Return the targets of a scene for one subset of modalities."""
    visible = item.in_camera * bool(mask[0]) | item.in_lidar * bool(mask[1])
    # Fusion puts its objects at the newest stamp there is: without LiDAR that of the images.
    alone = mask[0] and not mask[1] and item.shown_boxes is not None
    targets = make_targets(item.shown_boxes if alone else item.boxes, item.labels, visible)
    if mask[0] and not mask[1]:
        # Where no camera looks there may be anything; what is said there is to be nothing.
        nothing = np.where(targets["heat"].max(axis=0) > 0.05, 0.0, UNSEEN_WEIGHT)
        targets["heat_mask"] = targets["heat_mask"] * np.where(item.seen, 1.0, nothing)
        targets["box_mask"] = targets["box_mask"] * item.seen
    elif not mask[1]:  # hearing alone locates nothing
        targets["heat"][:] = 0.0
        targets["box_mask"][:] = 0.0
    return targets


def fusion_loss(
    net: nn.Module, batch: dict[str, Tensor], *, half: bool = False
) -> dict[str, Tensor]:
    """Return heatmap, box and sound loss of a batch; `half`: in bfloat16."""
    inputs = (batch["camera"], batch["lidar"], batch["embedding"], batch["presence"])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        heat, box, sounds = (output.float() for output in net(*inputs))
    heat_loss, box_loss = detection_loss(heat, box, batch)
    heard = batch["presence"][:, 2:3]
    bce = functional.binary_cross_entropy_with_logits(sounds, batch["sounds"], reduction="none")
    return {
        "heat": heat_loss,
        "box": 0.5 * box_loss,
        "sounds": (bce * heard).sum() / (heard.sum() * bce.shape[1]).clamp(min=1),
    }


def heard(encoders: Encoders, count: int, first: int) -> tuple[NDArray, NDArray]:
    """Return embeddings (N, 32) and labels (N, K) of synthetic windows, made once."""
    path = SOUNDS_CACHE / f"{first}_{count}.npz"
    if not path.exists():
        data = AudioSamples()
        samples = [data[first + i] for i in range(count)]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez(
            partial_path,
            patch=np.stack([s["patch"] for s in samples]),
            labels=np.stack([s["labels"] for s in samples]),
        )
        partial_path.rename(path)
    with np.load(path) as stored:
        patches, labels = torch.from_numpy(stored["patch"]), stored["labels"]
    with torch.no_grad():
        embeddings = encoders.audio(patches)[1].numpy()
    return embeddings, labels


def evaluate(
    net: nn.Module, scenes: Sequence[Features], embeddings: NDArray, *,
    thresholds: dict[str, dict[str, float]] | None = None, region: Region | None = None,
) -> dict:  # fmt: skip
    """Return AP by class and mean AP for every subset.

    Without thresholds, of scores before calibration and by subset, they are chosen here, and so
    are the calibrations of the subsets.
    """
    region = region or Region()
    report: dict = {}
    if thresholds is None:
        thresholds, report["subsets"] = {}, {}
    for name, (mask, _) in SUBSETS.items():
        frames = detect(net, scenes, embeddings, mask)
        if "subsets" in report:
            thresholds[name] = {
                c: best_threshold(k, frames, region=region) for k, c in enumerate(CLASSES)
            }
            report["subsets"][name] = calibration(frames, region=region)
            report["thresholds"] = thresholds
        wanted_score = thresholds[name]
        kept = [(t, [d for d in ds if d.score >= wanted_score[d.class_name]]) for t, ds in frames]
        classes = {
            c: {
                **evaluate_class(k, kept, region=region),
                "ap": evaluate_class(k, frames, region=region)["ap"],
            }
            for k, c in enumerate(CLASSES)
        }
        wanted = [m["ap"] for m in classes.values() if m["wanted"]]
        report[name] = {"map": float(np.mean(wanted)), **classes}
    return report


def evaluated(
    net: nn.Module, encoders: Encoders, embeddings: NDArray, seeds: Sequence[int]
) -> dict:
    """Return `evaluate` of held-out scenes, with one camera and with six, and of PandaSet.

    Calibration and thresholds are those of one camera, as most vehicles have it: with six there is
    more to go by, and scores that were fitted to both would promise too much where one is left.
    """
    held = [scene_features(encoders, seed, None) for seed in seeds]
    front = [scene.features(FRONT) for scene in held]
    around = [scene.features(ALL_AROUND) for scene in held]
    report = {"simulated_held_out": evaluate(net, front, embeddings)}
    thresholds = report["simulated_held_out"]["thresholds"]
    report["six_cameras"] = evaluate(net, around, embeddings, thresholds=thresholds)
    for sequence, label in (("001", "trained_on"), ("002", "held_out")):
        real = [scene.features(FRONT) for scene in real_features(encoders, sequence, 0)]
        title = f"pandaset_{sequence}_{label}"
        report[title] = evaluate(net, real, embeddings, thresholds=thresholds, region=AHEAD)
        shown = [replace(item, in_lidar=np.zeros_like(item.in_lidar)) for item in real]
        report[f"{title}_in_view"] = evaluate(
            net, shown, embeddings, thresholds=thresholds, region=AHEAD
        )
    return report


def detect(
    net: nn.Module, scenes: Sequence[Features], embeddings: NDArray, mask: tuple[int, ...]
) -> list[tuple[Truth, Sequence[DetectedObject]]]:
    """Return truth, the same for every subset, and detections with a subset present."""
    decoder = BevCenterDecoder(BevCenterOptions(score_threshold=0.03), CLASSES)
    presence = torch.tensor([mask], dtype=torch.float32)
    frames = []
    with torch.no_grad():
        for index, item in enumerate(scenes):
            heat, box, _ = net(
                torch.from_numpy(item.camera.astype(np.float32))[None],
                torch.from_numpy(item.lidar.astype(np.float32))[None],
                torch.from_numpy(embeddings[index % len(embeddings)])[None],
                presence,
            )
            found = decoder({"heatmap": heat.numpy(), "boxes": box.numpy()}, None).objects
            points = np.where(item.in_lidar | item.in_camera, 100, 0)
            frames.append((Truth(boxes=item.boxes, labels=item.labels, points=points), found))
    return frames


def print_fusion(title: str, report: dict) -> None:
    """Print what matters of `evaluate`."""
    for name, entry in report.items():
        if name in ("thresholds", "subsets"):
            print(title, name, entry)
            continue
        cells = [
            f"{c} {m['ap']:.2f} (r {m['recall']:.2f} p {m['precision']:.2f} n {m['wanted']} "
            f"front {m['front']:.2f})"
            for c, m in entry.items()
            if c != "map" and m["wanted"]
        ]
        print(f"{title:12s} {name:20s} map {entry['map']:.3f} {' | '.join(cells)}", flush=True)


def training_scenes(
    encoders: Encoders, *, frames: int, lidar_frames: int, real_variants: int
) -> list[Scene]:
    """Compute the features of simulated scenes, of those of LiDARs alone, and of real ones."""
    scenes = []
    for number in range(frames):
        rng = np.random.default_rng([13, number])
        scenes.append(scene_features(encoders, SCENES_SEED + number, rng))
        if number % 200 == 199:
            print(f"features {number + 1}/{frames}", flush=True)
    for number in range(lidar_frames):
        rng = np.random.default_rng([17, number])
        scenes.append(lidar_features(encoders, LIDAR_SCENES_SEED + number, rng))
    return scenes + real_features(encoders, "001", real_variants)


def trained(
    arguments: argparse.Namespace, encoders: Encoders, embeddings: NDArray, sounds: NDArray
) -> nn.Module:
    """Compute the features and train on them."""
    scenes = training_scenes(
        encoders, frames=arguments.frames, lidar_frames=arguments.lidar_frames,
        real_variants=arguments.real_variants,
    )  # fmt: skip
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=arguments.learning_rate, folder=OUT,
    )  # fmt: skip
    data = FusionSamples(scenes, embeddings, sounds.astype(np.float32))
    net = FusionNet(len(CLASSES), len(SOUNDS))
    if arguments.start:
        load_weights(net, torch.load(OUT / f"{arguments.start}.pt", weights_only=True))
    return train(plan, net, data, partial(fusion_loss, half=arguments.half))


def mean_of(first: str, second: str, *, share: float) -> FusionNet:
    """Return the network between two that one was trained from the other."""
    net = FusionNet(len(CLASSES), len(SOUNDS))
    net.load_state_dict(between(OUT, first, second, share=share))
    return net.eval()


def main() -> None:
    """Compute the features, train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=1200, help="simulated scenes to train on")
    parser.add_argument("--lidar-frames", type=int, default=0, help="and of LiDARs alone")
    parser.add_argument("--held-out", type=int, default=150)
    parser.add_argument("--real-variants", type=int, default=40)
    parser.add_argument("--sounds", type=int, default=1500, help="windows to hear")
    parser.add_argument("--lidar", default="lidar")
    parser.add_argument("--camera", default="camera")
    parser.add_argument("--audio", default="audio")
    parser.add_argument("--name", default="fusion")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--half", action="store_true", help="bfloat16: a processor with AVX-512")
    parser.add_argument("--start", default="", help="weights to begin with")
    parser.add_argument("--mean", nargs=2, help="no training: the weights between these two")
    parser.add_argument("--share", type=float, default=0.5, help="of the second of them")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    encoders = Encoders(
        {"lidar": arguments.lidar, "camera": arguments.camera, "audio": arguments.audio}
    )
    embeddings, sounds = heard(encoders, arguments.sounds, AUDIO_HELD_OUT // 2)
    if arguments.mean:
        average = mean_of(*arguments.mean, share=arguments.share)
    else:
        average = trained(arguments, encoders, embeddings, sounds)
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    report = evaluated(average, encoders, embeddings, HELD_OUT[: arguments.held_out])
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    for title, entry in report.items():
        print_fusion(title, entry)


if __name__ == "__main__":
    main()
