"""Train the fusion model on the features of trained encoders: `python -m training.fusion`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from edge_perception.core.types import DetectedObject
from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.encoders.lidar.preprocess import bin_points, rasterize
from edge_perception.models.adapters.bev_center import BevCenterDecoder, BevCenterOptions
from training import augment
from training.audio import HELD_OUT as AUDIO_HELD_OUT
from training.audio import AudioSamples
from training.calibrate import calibration
from training.camera import HELD_OUT, LIFT, PLACEMENT, image_tensor
from training.lidar import CONFIG, LEAST_POINTS, OUT, pandaset_folder
from training.loop import Plan, train
from training.metrics import AHEAD, Region, Truth, best_threshold, evaluate_class
from training.nets import AudioNet, CameraNet, FusionNet, LidarNet
from training.pictures import (
    Picture,
    cached_picture,
    jitter,
    load_pictures,
    older_image,
    shrink,
)
from training.samples import CLASSES, Sweep
from training.simulated import cached_sweep
from training.sounds import CLASSES as SOUNDS
from training.targets import count_points, detection_loss, make_targets

# camera, lidar, audio: every subset of the modalities, and how often it is trained.
SUBSETS = {
    "camera+lidar+audio": ((1, 1, 1), 0.32),
    "camera+lidar": ((1, 1, 0), 0.15),
    "lidar+audio": ((0, 1, 1), 0.12),
    "lidar": ((0, 1, 0), 0.12),
    "camera+audio": ((1, 0, 1), 0.12),
    "camera": ((1, 0, 0), 0.12),
    "audio": ((0, 0, 1), 0.05),
}

SCENES_SEED = 40_000  # scenes that no encoder was trained on: their features are as good as new
OLDER_SHARE = 0.4  # of the simulated scenes: the image was taken before the sweep


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the encoders make of one scene, and the truth."""

    camera: NDArray[np.float16]  # (24, 96, 64)
    lidar: NDArray[np.float16]
    seen: NDArray[np.bool_]  # (96, 64), cells in the image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    in_camera: NDArray[np.bool_]  # (M,)
    in_lidar: NDArray[np.bool_]  # (M,)


class Encoders:
    """The trained encoders, frozen."""

    def __init__(self, names: dict[str, str]) -> None:
        self.lidar = LidarNet(len(CONFIG.channels), len(CLASSES))
        self.camera = CameraNet(len(CLASSES), len(LIFT.heights_m))
        self.audio = AudioNet(len(SOUNDS))
        for role, net in (("lidar", self.lidar), ("camera", self.camera), ("audio", self.audio)):
            net.load_state_dict(torch.load(OUT / f"{names[role]}.pt", weights_only=True))
            net.eval()

    def features(self, sweep: Sweep, picture: Picture) -> Features:
        """Run camera and LiDAR on one scene; both in the same base frame."""
        binned = bin_points(sweep.xyz_m, CONFIG)
        raster = rasterize(sweep.xyz_m, sweep.intensity, CONFIG, binned=binned)
        grid = lift_grid(picture.geometry, LIFT, PLACEMENT)
        with torch.no_grad():
            lidar = self.lidar(torch.from_numpy(raster)[None])[0][0]
            image = torch.from_numpy(image_tensor(picture.bgr))[None]
            camera = self.camera(image, torch.from_numpy(grid))[0][0]
        seen = (grid[0, ..., 0] > -1.5).reshape(len(LIFT.heights_m), *LIFT.shape).any(axis=0)
        return Features(
            camera=camera.numpy().astype(np.float16),
            lidar=lidar.numpy().astype(np.float16),
            seen=seen,
            boxes=sweep.boxes,
            labels=sweep.labels,
            in_camera=picture.visible,
            in_lidar=count_points(binned, sweep.boxes, CONFIG) >= LEAST_POINTS,
        )


def shaken(sweep: Sweep, picture: Picture, rng: np.random.Generator) -> tuple[Sweep, Picture]:
    """Turn and shift both by the same, and the camera by a calibration error."""
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.2)
    shift = np.append(rng.normal(0, 2, 2), rng.normal(0, 0.05))
    sweep = augment.transform(sweep, yaw=turn, roll=0.0, pitch=0.0, shift_m=shift, scale=1.0)
    if rng.random() < 0.2:
        sweep = augment.drop_points(sweep, rng)
    angle = turn + np.radians(rng.normal(0, 0.4))
    c, s = np.cos(angle), np.sin(angle)
    T = np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]])
    geometry = replace(picture.geometry, T_base_sensor=T @ picture.geometry.T_base_sensor)
    return sweep, replace(picture, bgr=jitter(picture.bgr, rng), geometry=geometry)


class FusionSamples(Dataset):
    """Features with modality dropout; sample i depends on i alone."""

    def __init__(self, features: Sequence[Features], embeddings: NDArray, sounds: NDArray) -> None:
        self._features = features
        self._embeddings = embeddings
        self._sounds = sounds
        self._subsets = [mask for mask, _ in SUBSETS.values()]
        self._shares = np.array([share for _, share in SUBSETS.values()])

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        rng = np.random.default_rng([9, index])
        item = self._features[rng.integers(len(self._features))]
        heard = int(rng.integers(len(self._embeddings)))
        mask = self._subsets[rng.choice(len(self._subsets), p=self._shares / self._shares.sum())]
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
    targets = make_targets(item.boxes, item.labels, visible)
    if mask[0] and not mask[1]:
        targets["heat_mask"] = targets["heat_mask"] * item.seen
        targets["box_mask"] = targets["box_mask"] * item.seen
    elif not mask[1]:  # hearing alone locates nothing
        targets["heat"][:] = 0.0
        targets["box_mask"][:] = 0.0
    return targets


def fusion_loss(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return heatmap, box and sound loss of a batch."""
    heat, box, sounds = net(batch["camera"], batch["lidar"], batch["embedding"], batch["presence"])
    heat_loss, box_loss = detection_loss(heat, box, batch)
    heard = batch["presence"][:, 2:3]
    bce = functional.binary_cross_entropy_with_logits(sounds, batch["sounds"], reduction="none")
    return {
        "heat": heat_loss,
        "box": 0.5 * box_loss,
        "sounds": (bce * heard).sum() / (heard.sum() * bce.shape[1]).clamp(min=1),
    }


def scene_features(encoders: Encoders, seed: int, rng: np.random.Generator | None) -> Features:
    """Return the features of a simulated seed, shaken where `rng` is given."""
    sweep, picture = cached_pair(seed)
    if rng is not None:
        if rng.random() < OLDER_SHARE:  # its stamp is before the sweep's, and nothing corrects it
            picture = replace(picture, bgr=older_image(seed))
        sweep, picture = shaken(sweep, picture, rng)
    return encoders.features(sweep, picture)


def cached_pair(seed: int) -> tuple[Sweep, Picture]:
    """Return sweep and picture of one scene; both anew where another simulator made one of them."""
    sweep, picture = cached_sweep(seed), cached_picture(seed)
    if not np.array_equal(sweep.boxes, picture.boxes):
        sweep = cached_sweep(seed, renew=True)
        picture = cached_picture(seed, renew=True)
    return sweep, picture


def real_features(encoders: Encoders, sequence: str, variants: int) -> list[Features]:
    """Return the features of a PandaSet sequence; 0 variants: as recorded, else shaken."""
    result = []
    for number, (picture, sweep) in enumerate(load_pictures(pandaset_folder(), sequence)):
        for variant in range(max(variants, 1)):
            rng = np.random.default_rng([11, number, variant])
            small = shrink(picture, rng if variants else None)
            moved = (sweep, small) if not variants else shaken(sweep, small, rng)
            item = encoders.features(*moved)
            result.append(replace(item, in_camera=item.in_camera & item.in_lidar))
    return result


def heard(encoders: Encoders, count: int, first: int) -> tuple[NDArray, NDArray]:
    """Return embeddings (N, 32) and labels (N, K) of synthetic windows."""
    data = AudioSamples()
    samples = [data[first + i] for i in range(count)]
    with torch.no_grad():
        patches = torch.from_numpy(np.stack([s["patch"] for s in samples]))
        embeddings = encoders.audio(patches)[1].numpy()
    return embeddings, np.stack([s["labels"] for s in samples])


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
            f"{c} {m['ap']:.2f} (r {m['recall']:.2f} p {m['precision']:.2f} n {m['wanted']})"
            for c, m in entry.items()
            if c != "map" and m["wanted"]
        ]
        print(f"{title:12s} {name:20s} map {entry['map']:.3f} {' | '.join(cells)}", flush=True)


def main() -> None:
    """Compute the features, train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=1200, help="simulated scenes to train on")
    parser.add_argument("--held-out", type=int, default=150)
    parser.add_argument("--real-variants", type=int, default=40)
    parser.add_argument("--lidar", default="lidar")
    parser.add_argument("--camera", default="camera")
    parser.add_argument("--audio", default="audio")
    parser.add_argument("--name", default="fusion")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", default="", help="weights to begin with")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    encoders = Encoders(
        {"lidar": arguments.lidar, "camera": arguments.camera, "audio": arguments.audio}
    )
    scenes = []
    for number in range(arguments.frames):
        rng = np.random.default_rng([13, number])
        scenes.append(scene_features(encoders, SCENES_SEED + number, rng))
        if number % 200 == 199:
            print(f"features {number + 1}/{arguments.frames}", flush=True)
    scenes += real_features(encoders, "001", arguments.real_variants)
    embeddings, sounds = heard(encoders, 1500, AUDIO_HELD_OUT // 2)
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=3e-3, folder=OUT,
    )  # fmt: skip
    data = FusionSamples(scenes, embeddings, sounds.astype(np.float32))
    net = FusionNet(len(CLASSES), len(SOUNDS))
    if arguments.start:
        net.load_state_dict(torch.load(OUT / f"{arguments.start}.pt", weights_only=True))
    average = train(plan, net, data, fusion_loss)
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    held = [scene_features(encoders, seed, None) for seed in HELD_OUT[: arguments.held_out]]
    report = {"simulated_held_out": evaluate(average, held, embeddings)}
    thresholds = report["simulated_held_out"]["thresholds"]
    for sequence, label in (("001", "trained_on"), ("002", "held_out")):
        real = real_features(encoders, sequence, 0)
        report[f"pandaset_{sequence}_{label}"] = evaluate(
            average, real, embeddings, thresholds=thresholds, region=AHEAD
        )
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    for title, entry in report.items():
        print_fusion(title, entry)


if __name__ == "__main__":
    main()
